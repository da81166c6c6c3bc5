"""plots.py: figures that can be drawn, read and described."""

import io
import warnings

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import mnist_helpers as mh
from mnist_helpers import plots


def history(epochs=3, steps=7):
    records = [
        mh.EpochRecord(epoch, 1 / epoch, 0.5, 1.2 / epoch, 0.6, 1e-3, 2.0)
        for epoch in range(1, epochs + 1)
    ]
    losses = [2.3 / (1 + step) for step in range(epochs * steps)]
    return mh.History("cpu", "float32", records, losses)


def report(kind="plain"):
    labels = torch.arange(40) % 10
    logits = torch.randn(40, 10, generator=torch.Generator().manual_seed(0))
    if kind == "perfect":
        logits = torch.eye(10)[labels] * 200  # a probability of exactly 1
    if kind == "one sample":
        logits, labels = logits[:1], labels[:1]
    return mh.report_on(logits, labels, "made/test")


def images(count):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), generator=generator).byte()


ONE_HOT = torch.eye(10)
RECIPES = {name: mh.Recipe(epochs=2, schedule=name) for name in ("none", "step", "cosine")}
FIGURES = {
    "image_grid": lambda: plots.image_grid(images(23), [str(i) for i in range(23)], title="Digits"),
    "image_grid, one image": lambda: plots.image_grid(images(1)),
    "image_grid, no image": lambda: plots.image_grid(images(0)),
    "image_grid, one grey": lambda: plots.image_grid(torch.zeros(2, 28, 28)),
    "image_grid, filters": lambda: plots.image_grid(
        torch.linspace(-1, 1, 36).reshape(4, 1, 3, 3), cmap="RdBu_r", columns=2
    ),
    "image_grid, an array": lambda: plots.image_grid(np.zeros((3, 28, 28)), limits=(0, 1)),
    "pixel_values": lambda: plots.pixel_values(images(1)[0]),
    "pixel_values, blank": lambda: plots.pixel_values(torch.zeros(1, 28, 28).byte()),
    "class_counts": lambda: plots.class_counts(
        {"train": torch.arange(90) % 10, "validation": torch.arange(7), "test": torch.arange(10)}
    ),
    "class_counts, one set": lambda: plots.class_counts({"mine": torch.zeros(3).long()}),
    "training_curves": lambda: plots.training_curves(history()),
    "training_curves, one epoch": lambda: plots.training_curves(history(1)),
    "training_curves, stopped at once": lambda: plots.training_curves(history(0)),
    "step_losses": lambda: plots.step_losses({"a": history(), "b": history(2)}),
    "step_losses, one history": lambda: plots.step_losses({"a": history(30)}),
    "step_losses, one step": lambda: plots.step_losses({"a": history(1, 1)}),
    "step_losses, stopped at once": lambda: plots.step_losses({"a": history(0)}),
    "learning_rates": lambda: plots.learning_rates(RECIPES, 10),
    "learning_rates, one step": lambda: plots.learning_rates({"a": mh.Recipe(epochs=1)}, 1),
    "confusion_views": lambda: plots.confusion_views(report()),
    "confusion_views, perfect": lambda: plots.confusion_views(report("perfect")),
    "confusion_views, one sample": lambda: plots.confusion_views(report("one sample")),
    "predictions": lambda: plots.predictions(
        images(10), torch.arange(10), report().probabilities[:10]
    ),
    "predictions, one": lambda: plots.predictions(images(1), torch.tensor([3]), ONE_HOT[3:4]),
    "predictions, none": lambda: plots.predictions(images(0), torch.arange(0), ONE_HOT[:0]),
    "probability_bars": lambda: plots.probability_bars(
        images(1)[0], report().probabilities[0], 3, "Three"
    ),
    "probability_bars, certain": lambda: plots.probability_bars(images(1)[0] / 255, ONE_HOT[7]),
    "calibration_curve": lambda: plots.calibration_curve(report()),
    "calibration_curve, perfect": lambda: plots.calibration_curve(report("perfect")),
    "calibration_curve, one sample": lambda: plots.calibration_curve(report("one sample"), 5),
}


def png(figure):
    """The figure drawn, where any warning (a missing glyph, too little room) is an error."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(buffer, format="png", dpi=40)
    return buffer.getvalue()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_can_be_drawn_and_its_axes_are_labelled(name):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    assert png(figure).startswith(b"\x89PNG")
    for ax in figure.axes:
        if ax.axison and len(ax.get_xticks()):  # not an image without ticks
            assert ax.get_xlabel()
            assert ax.get_ylabel()
            assert ax.get_title()
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize("view", ["counts", "rows", "errors"])
def test_confusion_is_an_axes_of_its_own_or_the_one_given(view):
    own = plots.confusion(report(), view)
    assert isinstance(own, Axes)
    given = Figure().subplots()
    assert plots.confusion(report(), view, given) is given
    for ax in (own, given):
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted digit", "true digit")
        assert ax.get_title()
        png(ax.figure)


def shown(view):
    """The matrix as drawn."""
    [mesh] = plots.confusion(report(), view).collections
    return np.asarray(mesh.get_array()).reshape(10, 10)


def test_the_views_of_a_confusion_matrix():
    counts = report().confusion.numpy()
    assert np.array_equal(shown("counts"), counts)
    np.testing.assert_allclose(shown("rows"), counts / 4)
    np.testing.assert_allclose(shown("rows").sum(axis=1), 1)
    assert np.array_equal(shown("errors"), counts - np.diag(np.diag(counts)))
    assert np.array_equal(report().confusion.numpy(), counts)


def test_an_unknown_view_is_refused():
    with pytest.raises(ValueError, match="choose counts, rows or errors"):
        plots.confusion(report(), "columns")


def test_a_grid_shows_the_images_it_was_given():
    some = images(7)
    figure = plots.image_grid(some, [f"no. {i}" for i in range(7)], columns=5, limits=(0, 255))
    drawn = [ax for ax in figure.axes if ax.images]
    assert len(drawn) == 7
    for index, ax in enumerate(drawn):
        assert np.array_equal(ax.images[0].get_array(), some[index, 0])
        assert ax.images[0].get_clim() == (0, 255)
        assert ax.get_title() == f"no. {index}"


def test_predictions_mark_right_and_wrong_in_words():
    probabilities = torch.full((2, 10), 0.05)
    probabilities[0, 3] = probabilities[1, 3] = 0.55
    figure = plots.predictions(images(2), torch.tensor([3, 8]), probabilities)
    titles = [ax.get_title() for ax in figure.axes if ax.images]
    assert titles == [
        "true 3, predicted 3 ✓\nprobability 55.0%",
        "true 8, predicted 3 ✗\nprobability 55.0%",
    ]


def test_curves_show_the_history():
    left, right = plots.training_curves(history()).axes
    lines = {line.get_label(): line.get_ydata() for line in left.lines}
    np.testing.assert_allclose(lines["train"], [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(lines["validation"], [1.2, 0.6, 0.4])
    assert [line.get_label() for line in right.lines] == ["train", "validation"]


def test_class_counts_show_shares():
    figure = plots.class_counts({"train": torch.tensor([0, 0, 0, 9])})
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights, [0.75, 0, 0, 0, 0, 0, 0, 0, 0, 0.25])


# Figures of a study


def titles(axes):
    return [ax.get_title() for ax in axes]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("models", [("lenet",), ("vgg", "lenet", "three_conv")])
def test_study_curves_have_two_panels_a_model(make_study, models, seeds):
    figure = plots.study_curves(make_study(models, seeds))
    assert png(figure).startswith(b"\x89PNG")
    count = len(models)
    assert len(figure.axes) == 2 * count
    losses, accuracies = figure.axes[:count], figure.axes[count:]
    assert titles(losses) == list(models)
    assert {ax.get_xlabel() for ax in accuracies} == {"epoch"}
    assert "loss" in losses[0].get_ylabel()
    assert accuracies[0].get_ylabel() == "accuracy"
    assert [text.get_text() for text in losses[0].get_legend().texts] == ["train", "validation"]
    assert {len(ax.lines) for ax in figure.axes} == {2 * (seeds + 1)}
    assert matplotlib.pyplot.get_fignums() == []


def test_study_curves_show_every_run_and_the_mean(make_study):
    study = make_study(["lenet"], seeds=2)
    study.at[1, "train_loss"] = [0.5, 0.4, 0.3, 0.2, 0.1]
    loss, _ = plots.study_curves(study).axes
    runs, mean = [line for line in loss.lines if line.get_linestyle() == "-"][:2], loss.lines[2]
    drawn = [line.get_ydata() for line in runs]
    np.testing.assert_allclose(drawn, study["train_loss"].tolist())
    np.testing.assert_allclose(mean.get_ydata(), np.mean(drawn, axis=0))
    assert mean.get_label() == "train"
    assert mean.get_xdata().tolist() == [1, 2, 3, 4, 5]


def test_all_validation_accuracies_lie_in_the_panel(make_study):
    study = make_study(["lenet", "vgg"])
    study["validation_accuracy"] = [[0.4, 0.5, 0.6, 0.7, 0.8]] * len(study)
    for ax in plots.study_curves(study).axes[2:]:
        low, high = ax.get_ylim()
        assert low < 0.4 < 0.8 < high


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("models", [("vgg",), tuple(mh.ZOO)])
@pytest.mark.parametrize("size", ["parameters", "multiply_adds"])
def test_accuracy_by_size_names_each_model_once(make_study, models, seeds, size):
    table = mh.check_claims(make_study(models, seeds))
    figure = plots.accuracy_by_size(table, size)
    assert png(figure).startswith(b"\x89PNG")
    [ax] = figure.axes
    assert ax.get_title()
    assert size.replace("_", "-") in ax.get_xlabel()
    assert ax.get_ylabel() == "test accuracy"
    assert sorted(text.get_text() for text in ax.texts) == sorted(models)
    assert np.isfinite([text.xy for text in ax.texts]).all()
    assert len(ax.lines[0].get_xdata()) == len(models)
    assert matplotlib.pyplot.get_fignums() == []


def test_accuracy_by_size_shows_the_longest_training_and_its_interval(make_study):
    table = mh.check_claims(make_study(["three_conv"], accuracy=0.992))
    [ax] = plots.accuracy_by_size(table).axes
    [_, ten] = table.itertuples()
    points, *_ = ax.lines
    assert [*points.get_xdata(), *points.get_ydata()] == [ten.parameters, ten.mean]
    [bar] = ax.collections[0].get_segments()
    np.testing.assert_allclose(bar[:, 1], [ten.low, ten.high])


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("models", [("vgg",), tuple(mh.ZOO)])
@pytest.mark.parametrize("source", ["mnist", "sample"])
def test_seed_spread_has_a_row_for_each_model_and_number_of_epochs(
    make_study, models, seeds, source
):
    study = make_study(models, seeds, source)
    table = mh.check_claims(study)
    figure = plots.seed_spread(study, table)
    assert png(figure).startswith(b"\x89PNG")
    [ax] = figure.axes
    assert ax.get_title()
    assert ax.get_xlabel() == "test accuracy"
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == [f"{row.model}, {row.epochs} epochs" for row in table.itertuples()]
    runs = [line for line in ax.lines if line.get_label() == "one run"]
    assert [len(line.get_xdata()) for line in runs] == [seeds] * len(table)
    names = [text.get_text() for text in ax.get_legend().texts]
    assert names[0] == "one run"
    assert len(names) == len(set(names))
    assert matplotlib.pyplot.get_fignums() == []


def test_seed_spread_shows_runs_and_claims_where_they_are(make_study):
    study = make_study(["three_conv"], accuracy=0.992)
    [ax] = plots.seed_spread(study, mh.check_claims(study)).axes
    five, ten = (line for line in ax.lines if line.get_label() == "one run")
    np.testing.assert_allclose(five.get_xdata(), [0.987, 0.9872, 0.9874])
    np.testing.assert_allclose(ten.get_xdata(), [0.992, 0.9922, 0.9924])
    [claims] = [line for line in ax.lines if line.get_label() == "claim"]
    np.testing.assert_allclose(claims.get_xdata(), [0.99, np.nan])


def test_a_description_travels_with_the_figure():
    described = plots.describe(plots.image_grid(images(1)), "One digit: a seven.")
    data, metadata = DisplayFormatter().format(described)
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == "One digit: a seven."
    assert "One digit: a seven." in data["text/plain"]


def test_changes_show_every_run_and_the_means_of_accuracy_and_gap(make_study):
    study = make_study(["two_conv", "vgg"], 3)
    left, right = plots.changes(study).axes
    assert png(left.figure).startswith(b"\x89PNG")
    assert [text.get_text() for text in left.get_yticklabels()] == ["two_conv", "vgg"]
    for place, runs in enumerate(dict(list(study.groupby("model", sort=False))).values()):
        gap = 100 * (runs["train_accuracy"].str[-1] - runs["validation_accuracy"].str[-1])
        for ax, values in ((left, runs["test_accuracy"]), (right, gap)):
            circles = [line for line in ax.lines if list(line.get_ydata()) == [place] * 3]
            np.testing.assert_allclose(circles[0].get_xdata(), values)
            [bar] = ax.collections[place].get_segments()
            np.testing.assert_allclose(bar[:, 0], mh.mean_interval(list(values)), atol=1e-9)


def test_error_by_size_draws_a_line_for_each_change():
    rows = [
        {"change": change, "size": size, "error": error / size**0.5 + seed / 1_000}
        for change, error in (("plain", 2.0), ("distort", 1.0))
        for size in (100, 1_000)
        for seed in range(3)
    ]
    [ax] = plots.error_by_size(pd.DataFrame(rows)).axes
    assert png(ax.figure).startswith(b"\x89PNG")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in ax.get_legend().texts] == ["plain", "distort"]
    line = ax.containers[0].lines[0]
    expected = [2 / size**0.5 + 0.001 for size in (100, 1_000)]
    np.testing.assert_allclose(np.array(line.get_ydata(), float), expected)


def test_errors_by_corruption_stand_in_their_rows_with_their_intervals():
    table = pd.DataFrame(
        {
            "corruption": ["fog", "stripe"],
            "error": [0.5, 0.1],
            "low": [0.4, 0.08],
            "high": [0.6, 0.13],
        }
    )
    [ax] = plots.errors_by_corruption({"one": table, "two": table}).axes
    assert png(ax.figure).startswith(b"\x89PNG")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["fog", "stripe"]
    np.testing.assert_allclose(
        [bar[:, 0] for bar in ax.collections[0].get_segments()], [[0.4, 0.6], [0.08, 0.13]]
    )
    assert [text.get_text() for text in ax.get_legend().texts] == ["one", "two"]


def test_accuracy_against_draws_each_curve_and_takes_axes():
    curves = {"one": {0.0: 0.99, 0.1: 0.5}, "two": {0.0: 0.98, 0.1: 0.7}}
    ax = plots.accuracy_against(curves, "epsilon", "Attacks")
    assert png(ax.figure).startswith(b"\x89PNG")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("epsilon", "accuracy", "Attacks")
    for line, (name, curve) in zip(ax.lines, curves.items(), strict=True):
        assert line.get_label() == name
        assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == curve
    assert plots.accuracy_against({"one": curves["one"]}, "x", ax=ax) is ax


def written_page():
    rng = np.random.default_rng(0)
    return mh.photographed(mh.page([1, 7], rng), rng)


def test_the_steps_of_one_picture_are_shown_once():
    found = mh.digits_from_image(written_page())
    figure = plots.handwriting_steps(found, ["one", "seven"])
    shown = [len(ax.images) for ax in figure.axes]
    assert shown == [1] * 6 + [0] * 4 + [1] * 2
    assert [figure.axes[row].get_ylabel() for row in (0, 6)] == ["one", "seven"]
    assert np.array_equal(figure.axes[5].images[0].get_array(), found[0].image[0].numpy())
    other = mh.digits_from_image(255 - written_page())
    assert [len(ax.images) for ax in plots.handwriting_steps([found[0], other[0]]).axes] == [1] * 12


def test_the_page_has_a_box_for_each_digit_and_marks_doubt(make_tiny):
    picture = written_page()
    readings = mh.read_digits(make_tiny(), picture, mh.Certainty(1.0, 1.0))
    sure = [readings[0]._replace(sure=True), readings[1]]
    figure = plots.readings_on_page(picture, sure)
    [ax] = figure.axes
    assert ["?" in text.get_text() for text in ax.texts] == [False, True]
    for line, reading in zip(ax.lines, readings, strict=True):
        left, top, right, bottom = reading.found.box
        assert set(line.get_xdata()) == {left, right}
        assert set(line.get_ydata()) == {top, bottom}
    assert {line.get_linestyle() for line in ax.lines} == {"-", "--"}
