"""plots.py: figures that can be drawn, read and described."""

import io
import warnings

import matplotlib.pyplot
import mnist_helpers as mh
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from mnist_helpers import plots
from mnist_helpers.handwriting import plots as handwriting_plots
from mnist_helpers.robustness import plots as robustness_plots
from mnist_helpers.speed import plots as speed_plots
from mnist_helpers.study import plots as study_plots
from numpy.testing import assert_allclose
from PIL import Image


def history(epochs=3, steps=7):
    records = [
        mh.history.EpochRecord(epoch, 1 / epoch, 0.5, 1.2 / epoch, 0.6, 1e-3, 2.0)
        for epoch in range(1, epochs + 1)
    ]
    losses = [2.3 / (1 + step) for step in range(epochs * steps)]
    return mh.History("cpu", "float32", records, losses)


def report(count=40, perfect=False):
    labels = torch.arange(count) % 10
    logits = torch.randn(count, 10, generator=torch.Generator().manual_seed(0))
    if perfect:
        logits = torch.eye(10)[labels] * 200  # a probability of exactly 1
    return mh.evaluation.report_on(logits, labels, "made/test")


def images(count):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), generator=generator).byte()


def drawn(figure, labelled=True):
    """The axes of a figure that is drawn, where any warning (a missing glyph) is an error.

    All have a title and labels, but for images without ticks.
    """
    assert isinstance(figure, Figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), dpi=40)
    for ax in figure.axes:
        if labelled and ax.axison and len(ax.get_xticks()):
            assert all((ax.get_xlabel(), ax.get_ylabel(), ax.get_title()))
    assert matplotlib.pyplot.get_fignums() == []
    return figure.axes


def words(texts):
    return [text.get_text() for text in texts]


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


EXTREMES = [
    ("image_grid", images(0)),
    ("image_grid", torch.zeros(1, 28, 28)),
    ("image_grid", np.linspace(-1, 1, 36).reshape(4, 1, 3, 3), None, 2, "Filters", "RdBu_r"),
    ("training_curves", history(1)),
    ("training_curves", history(0)),
    ("step_losses", {"one step": history(1, 1)}),
    ("step_losses", {"stopped at once": history(0)}),
    ("learning_rates", {"one step": mh.Recipe(epochs=1)}, 1),
    ("confusion_views", report(1, perfect=True)),
    ("predictions", images(0), torch.arange(0), torch.eye(10)[:0]),
    ("probability_bars", images(1)[0] / 255, torch.eye(10)[7]),
    ("calibration_curve", report(1, perfect=True)),
]


@pytest.mark.parametrize(("name", "values"), [(name, values) for name, *values in EXTREMES])
def test_extremes_can_be_drawn(name, values):
    drawn(getattr(plots, name)(*values))


def test_a_grid_shows_the_images_it_was_given():
    some, titles = images(7), [f"no. {index}" for index in range(7)]
    axes = drawn(plots.image_grid(some, titles, columns=5, title="Digits", limits=(0, 255)))
    assert [ax.get_title() for ax in axes if ax.images] == titles
    for ax, image in zip(axes, some[:, 0], strict=False):
        assert np.array_equal(ax.images[0].get_array(), image)
        assert ax.images[0].get_clim() == (0, 255)


def test_pixel_values_are_written_where_there_is_ink():
    image = torch.zeros(1, 28, 28).byte()
    image[0, 3, 5:8] = torch.tensor([7, 200, 255])
    [ax] = drawn(plots.pixel_values(image))
    shown = {text.get_position(): text.get_text() for text in ax.texts if text.get_text()}
    assert shown == {(5.5, 3.5): "7", (6.5, 3.5): "200", (7.5, 3.5): "255"}


def test_class_counts_show_shares():
    train, test = torch.tensor([0, 0, 0, 9]), torch.arange(10)
    [ax] = drawn(plots.class_counts({"train": train, "test": test}))
    assert_allclose(heights(ax), [0.75, *[0] * 8, 0.25, *[0.1] * 10])
    assert words(ax.get_legend().texts) == ["train (4)", "test (10)"]


def test_a_grid_with_a_colour_bar_has_one_scale():
    some = torch.tensor([0.5, -2.0, 1.0]).reshape(3, 1, 1, 1).expand(-1, -1, 2, 2)
    *axes, bar = drawn(plots.image_grid(some, bar="weight"))
    assert {ax.images[0].get_clim() for ax in axes} == {(-2, 1)}
    assert bar.get_ylabel() == "weight"
    *axes, _ = drawn(plots.image_grid(some, cmap="RdBu_r", bar="weight"))
    assert {ax.images[0].get_clim() for ax in axes} == {(-2, 2)}


def test_training_curves_show_the_history():
    left, right = drawn(plots.training_curves(history()))
    assert left.get_yscale() == right.get_yscale() == "log"
    assert_allclose([line.get_ydata() for line in left.lines], [[1, 1 / 2, 1 / 3], [1.2, 0.6, 0.4]])
    assert_allclose([line.get_ydata() for line in right.lines], [[0.5] * 3, [0.4] * 3])
    for ax in (left, right):
        assert words(ax.get_legend().texts) == ["train", "validation"]


def test_step_losses_are_moving_means():
    losses = history().step_losses
    [ax] = drawn(plots.step_losses({"a": history()}, window=4))
    raw, mean = ax.lines
    assert list(raw.get_ydata()) == losses
    means = [np.mean(losses[max(0, end - 4) : end]) for end in range(1, 22)]
    assert_allclose(mean.get_ydata(), means)
    assert list(mean.get_xdata()) == list(range(1, 22))
    [ax] = drawn(plots.step_losses({"a": history()}, top=0.9))
    assert ax.get_ylim()[1] == 0.9
    assert "cut off at 0.9" in ax.get_title()
    [ax] = drawn(plots.step_losses({"a": history(), "b": history(2)}))
    assert [line.get_label() for line in ax.lines] == ["a", "b"]


def test_learning_rates_are_those_of_the_recipes():
    plain = mh.Recipe(epochs=2, learning_rate=0.5)
    steps = mh.Recipe(epochs=3, learning_rate=0.5, schedule="step", step_size=1, gamma=0.1)
    [ax] = drawn(plots.learning_rates({"plain": plain, "steps": steps}, 2))
    assert_allclose(ax.lines[0].get_ydata(), [0.5] * 4)
    assert_allclose(ax.lines[1].get_ydata(), [0.5, 0.5, 0.05, 0.05, 0.005, 0.005])
    assert_allclose(ax.lines[1].get_xdata(), [0, 0.5, 1, 1.5, 2, 2.5])


def test_the_views_of_a_confusion_matrix():
    counts = report().confusion.numpy()
    axes = drawn(plots.confusion_views(report()))
    for ax, expected in zip(
        axes, (counts, counts / 4, counts - np.diag(np.diag(counts))), strict=True
    ):
        assert_allclose(np.asarray(ax.collections[0].get_array()).reshape(10, 10), expected)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted digit", "true digit")
    assert plots.confusion(report(), "rows", axes[0]) is axes[0]
    assert plots.confusion(report()).get_title() == "Counts"
    with pytest.raises(ValueError, match="choose counts, rows or errors"):
        plots.confusion(report(), "columns")


def test_predictions_mark_right_and_wrong_in_words():
    probabilities = torch.full((2, 10), 0.05)
    probabilities[:, 3] = 0.55
    axes = drawn(plots.predictions(images(2), torch.tensor([3, 8]), probabilities))
    assert [ax.get_title() for ax in axes if ax.images] == [
        "true 3, predicted 3 ✓\nprobability 55.0%",
        "true 8, predicted 3 ✗\nprobability 55.0%",
    ]
    floats = plots.predictions(images(2) / 255, torch.tensor([3, 8]), probabilities)
    assert [ax.images[0].get_clim() for ax in floats.axes if ax.images] == [(0, 1)] * 2


def test_probability_bars_have_their_heights_and_mark_the_true_digit():
    probabilities = report().probabilities[0]
    left, right = drawn(plots.probability_bars(images(1)[0], probabilities, 3, "Three"))
    assert left.get_title() == "Three"
    assert np.array_equal(left.images[0].get_array(), images(1)[0, 0])
    assert_allclose(heights(right), probabilities)
    assert words(right.get_xticklabels()) == [*"012", "3\ntrue", *"456789"]


def test_the_calibration_curve_shows_the_bins():
    table = mh.evaluation.calibration(report().probabilities, report().labels, 15)
    left, right = drawn(plots.calibration_curve(report()))
    assert_allclose(left.lines[0].get_xydata(), table[["confidence", "accuracy"]])
    ends = [path.vertices[:, 1] for path in left.collections[0].get_paths()]
    rights = (table["accuracy"] * table["count"]).round().astype(int)
    pairs = zip(rights, table["count"], strict=True)
    assert_allclose(ends, [mh.wilson_interval(*pair) for pair in pairs])
    assert_allclose(heights(right), table["count"])


# Figures of a study


def test_study_curves_show_every_run_and_the_mean(make_study):
    study = make_study(["vgg", "lenet"], seeds=2)
    study.at[1, "train_loss"] = [0.5, 0.4, 0.3, 0.2, 0.1]
    study["validation_accuracy"] = [[0.4, 0.5, 0.6, 0.7, 0.8]] * 4
    axes = drawn(study_plots.study_curves(study), labelled=False)
    assert [ax.get_title() for ax in axes] == ["vgg", "lenet", "", ""]
    labels = axes[0].get_ylabel(), axes[2].get_ylabel(), axes[2].get_xlabel()
    assert labels == ("loss (nats, log scale)", "accuracy", "epoch")
    assert words(axes[0].get_legend().texts) == ["train", "validation"]
    assert [len(ax.lines) for ax in axes] == [6] * 4
    curves = study["train_loss"].tolist()[:2]
    assert_allclose([line.get_ydata() for line in axes[0].lines[:2]], curves)
    assert_allclose(axes[0].lines[2].get_ydata(), np.mean(curves, axis=0))
    assert axes[0].lines[2].get_xdata().tolist() == [1, 2, 3, 4, 5]
    for ax in axes[2:]:  # all validation accuracies lie in the panel
        assert ax.get_ylim()[0] < 0.4 < 0.8 < ax.get_ylim()[1]
    assert len(drawn(study_plots.study_curves(make_study(["lenet"], 1)), labelled=False)) == 2


def test_accuracy_by_size_shows_the_longest_training_and_its_interval(make_study):
    table = mh.study.check_claims(make_study(["three_conv", "vgg"]))
    axes = drawn(study_plots.accuracy_by_size(table), labelled=False)
    rows = table[table["epochs"] == [0, 5, 0, 10]]
    for ax, size in zip(axes, ("parameters", "multiply_adds"), strict=True):
        assert size.replace("_", "-") in ax.get_xlabel()
        assert words(ax.texts) == ["vgg", "three_conv"]
        assert_allclose(ax.lines[0].get_xydata().astype(float), rows[[size, "mean"]])
        bars = [bar[:, 1] for bar in ax.collections[0].get_segments()]
        assert_allclose(bars, rows[["low", "high"]])
    one = mh.study.check_claims(make_study(["vgg"], seeds=1))
    drawn(study_plots.accuracy_by_size(one), labelled=False)


def test_seed_spread_shows_runs_and_claims_where_they_are(make_study):
    study = make_study(["three_conv"], accuracy=0.992)
    [ax] = drawn(study_plots.seed_spread(study, mh.study.check_claims(study)), labelled=False)
    assert (ax.get_xlabel(), ax.get_title() != "") == ("test accuracy", True)
    assert words(ax.get_yticklabels()) == ["three_conv, 5 epochs", "three_conv, 10 epochs"]
    five, ten = (line.get_xdata() for line in ax.lines if line.get_label() == "one run")
    assert_allclose([*five, *ten], [0.987, 0.9872, 0.9874, 0.992, 0.9922, 0.9924])
    [claims] = [line for line in ax.lines if line.get_label() == "claim"]
    assert_allclose(claims.get_xdata(), [0.99, np.nan])
    assert words(ax.get_legend().texts)[:2] == ["one run", "claim"]
    (_, bar) = ax.collections[0].get_segments()  # of ten epochs: no claim, so 95 % on both sides
    assert_allclose(bar[:, 0], mh.study.prediction_interval([0.992, 0.9922, 0.9924]))
    study = make_study(["vgg"], 1, "sample")
    drawn(study_plots.seed_spread(study, mh.study.check_claims(study)), labelled=False)


def test_the_ladder_has_a_circle_for_each_run_and_words_for_each_entry():
    rows = [("b", 2.0, 0.98), ("b", 4.0, 0.99), ("a", 0.5, 0.9), ("a", 0.5, 0.9), ("c", 1, 0.9)]
    runs = pd.DataFrame(rows, columns=["name", "seconds", "accuracy"])
    [ax] = drawn(speed_plots.ladder(runs), labelled=False)
    assert words(ax.get_yticklabels()) == ["b", "a", "c"]
    found = [line.get_xydata().tolist() for line in ax.lines]
    assert found == [[[2, 0], [4, 0]], [[0.5, 1], [0.5, 1]], [[1, 2]]]
    several = ["3.00 s, 98.50 ± 0.71 (n 2)", "0.50 s, 90.00 ± 0.00 (n 2)"]
    assert words(ax.texts) == [*several, "1.00 s, 90.00 (n 1)"]


def test_time_shares_stand_side_by_side():
    parts = {"one": {"read": 1.0, "learn": 2.0}, "two": {"read": 3.0, "learn": 0.5}}
    [ax] = drawn(speed_plots.time_shares(parts), labelled=False)
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0, 1), (0, 3), (1, 2), (3, 0.5)]
    assert words(ax.get_yticklabels()) == ["one", "two"]
    assert words(ax.get_legend().texts) == ["read", "learn"]


def test_differences_stand_in_their_rows_and_are_filled_where_they_are_clear():
    rows = [("b", "a", 0.01, 0.008, 0.012, 0.001), ("c", "a", -0.01, -0.03, 0.01, 0.2)]
    table = pd.DataFrame(rows, columns=["name", "baseline", "difference", "low", "high", "holm"])
    [ax] = drawn(study_plots.differences(table), labelled=False)
    assert words(ax.get_yticklabels()) == ["b", "c"]
    clear, unclear = ax.containers
    assert [bars.lines[0].get_xydata().tolist() for bars in (clear, unclear)] == [
        [[1, 0]],
        [[-1, 1]],
    ]
    assert_allclose(unclear.lines[2][0].get_segments()[0][:, 0], [-3, 1])
    assert clear.lines[0].get_markerfacecolor() != unclear.lines[0].get_markerfacecolor()
    table.loc[1, "baseline"] = "d"
    [ax] = drawn(study_plots.differences(table), labelled=False)
    assert words(ax.get_yticklabels()) == ["b - a", "c - d"]


def test_error_by_size_draws_a_line_and_every_run_for_each_change():
    rows = [
        (change, size, error / size**0.5 + seed / 1_000)
        for change, error in (("plain", 2.0), ("distort", 1.0), ("x", 3), ("y", 4), ("z", 5))
        for size in (100, 1_000)
        for seed in range(3)
    ]
    runs = pd.DataFrame(rows, columns=["change", "size", "error"])
    [ax] = drawn(study_plots.error_by_size(runs))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert words(ax.get_legend().texts) == ["plain", "distort", "x", "y", "z"]
    means, single = ax.lines[0], ax.lines[1]
    assert_allclose(means.get_ydata(), [2 / 10 + 0.001, 2 / 1_000**0.5 + 0.001])
    assert_allclose(single.get_ydata(), runs["error"][:6])
    looks = {(line.get_marker(), line.get_linestyle()) for line in ax.lines[::2]}
    assert len(looks) == 5  # no two lines alike


def test_errors_by_corruption_stand_in_their_rows_with_their_intervals():
    rows = [("fog", 0.5, 0.4, 0.6), ("stripe", 0.1, 0.08, 0.13)]
    table = pd.DataFrame(rows, columns=["corruption", "error", "low", "high"])
    [ax] = drawn(robustness_plots.errors_by_corruption(table), labelled=False)
    assert words(ax.get_yticklabels()) == ["stripe", "fog"]  # the worst below
    bars = [bar[:, 0] for bar in ax.collections[0].get_segments()]
    assert_allclose(bars, table[["low", "high"]][::-1])


def test_accuracy_against_draws_each_curve_and_takes_axes():
    curves = {"one": {0.0: 0.99, 0.1: 0.5}, "two": {0.0: 0.98, 0.1: 0.7}}
    ax = robustness_plots.accuracy_against(curves, "epsilon", "Attacks")
    assert drawn(ax.figure) == [ax]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("epsilon", "accuracy", "Attacks")
    assert {line.get_label(): dict(line.get_xydata().tolist()) for line in ax.lines} == curves
    assert robustness_plots.accuracy_against({"one": curves["one"]}, "x", ax=ax) is ax


# Figures of handwriting, and words for all


@pytest.fixture(scope="module")
def page():
    rng = np.random.default_rng(0)
    return mh.handwriting.photographed(mh.handwriting.page([1, 7], rng), rng)


TITLES = handwriting_plots.TITLES


def test_the_steps_of_one_picture_are_shown_once(page):
    found = mh.handwriting.digits_from_image(page)
    axes = drawn(handwriting_plots.handwriting_steps(found, ["one", "seven"]))
    assert [ax.get_title() for ax in axes] == [*TITLES, *TITLES[4:]]
    assert [axes[row].get_ylabel() for row in (0, 6)] == ["one", "seven"]
    assert np.array_equal(axes[5].images[0].get_array(), found[0].image[0].numpy())
    other = mh.handwriting.digits_from_image(255 - page)
    apart = handwriting_plots.handwriting_steps([found[0], other[0]])
    assert [ax.get_title() for ax in apart.axes] == [*TITLES, *TITLES]
    five = handwriting_plots.handwriting_steps([found[0]] * 5 + [other[0]])
    places = [ax.get_subplotspec() for ax in five.axes]
    assert [(place.rowspan.start, place.colspan.start) for place in places] == [
        *((0, column) for column in range(6)),  # the picture and its first digit
        *((1, column) for column in range(6)),  # three more
        *((2, 0), (2, 1)),
        *((3, column) for column in range(6)),  # another picture
    ]


def test_the_page_has_a_box_for_each_digit_and_marks_doubt(make_tiny, page):
    first, second = mh.handwriting.read_digits(make_tiny(), page, mh.Certainty(1.0, 1.0))
    [ax] = drawn(handwriting_plots.readings_on_page(page, [first._replace(sure=True), second]))
    assert ["?" in text for text in words(ax.texts)] == [False, True]
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
    for line, reading in zip(ax.lines, (first, second), strict=True):
        left, top, right, bottom = reading.found.box
        assert set(line.get_xdata()) == {left, right}
        assert set(line.get_ydata()) == {top, bottom}


def test_the_digits_of_a_file_are_numbered_on_its_page_before_their_steps(
    make_tiny, page, tmp_path
):
    several, alone = tmp_path / "a_$1_^$.png", tmp_path / "alone.png"  # no mathematics
    Image.fromarray(np.kron(page, np.ones((2, 2), np.uint8))).save(several)  # more than is kept
    Image.fromarray(page[:, : page.shape[1] // 2]).save(alone)
    shown = [
        (path, one)
        for path in (several, alone)
        for one in mh.handwriting.read_digits(make_tiny(), path)
    ]
    axes = drawn(handwriting_plots.steps_of_files(shown))
    [first] = [ax for ax in axes if ax.get_title() == "a_$1_^$.png"]
    assert words(first.texts) == ["1", "2"]
    assert len(first.lines) == 2
    for line, (_, reading) in zip(first.lines, shown, strict=False):
        left, _, right, bottom = reading.found.box
        assert (min(line.get_xdata()), max(line.get_ydata())) == (left, bottom)
        assert right < first.images[0].get_extent()[1] == 2 * page.shape[1]
    rows = [ax.get_ylabel().split(":")[0] for ax in axes if ax.get_ylabel()]
    assert rows == ["a_$1_^$.png\n1", "a_$1_^$.png\n2", "alone.png\n3"]
    assert len(axes) == 1 + 6 + 2 + 6


def test_a_description_travels_with_the_figure():
    described = plots.describe(plots.image_grid(images(1)), "One digit: a seven.")
    data, metadata = DisplayFormatter().format(described)
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == "One digit: a seven."
    assert "One digit: a seven." in data["text/plain"]
    width, height = Image.open(io.BytesIO(data["image/png"])).size
    shown = metadata["image/png"]["width"], metadata["image/png"]["height"]
    assert shown == (round(width / 2), round(height / 2))  # two dots a pixel


def test_a_photo_is_saved_with_fewer_dots():
    noise = torch.rand(1, 1, 480, 640, generator=torch.Generator().manual_seed(0))
    described = plots.describe(plots.image_grid(noise.repeat(4, 1, 1, 1), columns=2), "Noise")
    data, metadata = DisplayFormatter().format(described)
    size = Image.open(io.BytesIO(data["image/png"])).size
    assert (metadata["image/png"]["width"], metadata["image/png"]["height"]) == size
