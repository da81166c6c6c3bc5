"""Every figure of the notebooks. Functions return a Figure or Axes and never show one.

Colours are Okabe and Ito's, which the colour-blind can tell apart; no colour stands alone: line
styles, marks or numbers say the same, so a grey print can be read too.
"""

from collections.abc import Sequence
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, PercentFormatter
from torch import Tensor

from mnist_helpers.claims import mean_interval, within
from mnist_helpers.evaluation import Report, calibration, expected_calibration_error
from mnist_helpers.handwriting import FoundDigit
from mnist_helpers.history import History
from mnist_helpers.prediction import Reading
from mnist_helpers.recipes import Recipe, learning_rate_at

if TYPE_CHECKING:
    import pandas as pd

BLUE, ORANGE, GREY, BLACK = "#0072B2", "#D55E00", "#777777", "#000000"
LOOKS = ((BLUE, "-"), (ORANGE, "--"), (GREY, "-."), (BLACK, ":"))
RIGHT, WRONG = "✓", "✗"


class Described:
    """A figure with alternative text, for those who cannot see it; a notebook shows both."""

    def __init__(self, figure: Figure, alt: str) -> None:
        self.figure, self.alt = figure, alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data = {"image/png": as_png(self.figure), "text/plain": f"Figure: {self.alt}"}
        return data, {"image/png": {"alt": self.alt}}


def as_png(figure: Figure, dpi: int = 80) -> bytes:
    """The figure as the bytes of a PNG file, on white, so that it can be read in dark mode."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", bbox_inches="tight")
    return buffer.getvalue()


def describe(figure: Figure, alt: str) -> Described:
    """The figure with its alternative text: make it the last line of a cell."""
    return Described(figure, alt)


def image_grid(
    images: Tensor | np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int = 10,
    title: str = "",
    cmap: str = "gray",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Images `[N, H, W]` or `[N, 1, H, W]`, in rows; N at most 100 reads well.

    Without `limits` (the values of black and white) each image has its own, so use limits where
    images are compared. Diverging maps such as `RdBu_r` are centred on 0.
    """
    images = torch.as_tensor(np.asarray(images)).squeeze(1) if len(images) else torch.empty(0)
    columns = max(min(columns, len(images)), 1)
    rows = max(-(-len(images) // columns), 1)
    size = min(11.5 / columns, 2.2)
    height = rows * (size if titles is None else size + 0.3) + (0.4 if title else 0)
    figure = Figure(figsize=(max(columns * size, 4), height), layout="constrained")
    for index, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        ax.axis("off")
        if index < len(images):
            image = images[index].float()
            low, high = limits or (float(image.min()), float(image.max()))
            if cmap == "RdBu_r":
                low, high = -max(-low, high), max(-low, high)
            ax.imshow(image.numpy(), cmap=cmap, vmin=low, vmax=high)
            if titles is not None:
                ax.set_title(titles[index], fontsize=9)
    figure.suptitle(title)
    return figure


def pixel_values(image: Tensor) -> Figure:
    """One image, uint8 `[1, 28, 28]`, with the value written into every pixel that has ink."""
    figure = Figure(figsize=(8.5, 8.5), layout="constrained")
    ax = figure.subplots()
    values = image.squeeze().numpy()
    words = np.where(values > 0, values.astype(str), "")
    sns.heatmap(
        values,
        ax=ax,
        cmap="gray",
        annot=words,
        fmt="",
        annot_kws={"size": 7},
        cbar=False,
        square=True,
    )
    ax.set(title="One digit as numbers: 0 is paper, 255 is ink", xlabel="column", ylabel="row")
    return figure


def class_counts(sets: dict[str, Tensor]) -> Figure:
    """Share of each digit in several sets of labels, as bars side by side."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / len(sets)
    styles = cycle(((BLUE, ""), (ORANGE, "//"), (GREY, "..")))
    for index, ((name, labels), (colour, hatch)) in enumerate(
        zip(sets.items(), styles, strict=False)
    ):
        share = (torch.bincount(labels, minlength=10) / len(labels)).numpy()
        place = np.arange(10) + (index - (len(sets) - 1) / 2) * width
        label = f"{name} ({len(labels):,})"
        ax.bar(place, share, width, label=label, color=colour, hatch=hatch, edgecolor="white")
    ax.set(title="Share of each digit", xlabel="digit", ylabel="share of the set")
    ax.set(xticks=range(10), ylim=(0, 1.25 * ax.get_ylim()[1]))
    ax.legend(ncols=3, loc="upper center")
    return figure


def training_curves(history: History) -> Figure:
    """Loss and accuracy of training and validation over the epochs, side by side."""
    frame = history.to_frame()
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for ax, what, unit in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), ("nats", ""), strict=True
    ):
        for name, colour, style in (("train", BLUE, "o-"), ("validation", ORANGE, "s--")):
            ax.plot(frame["epoch"], frame[f"{name}_{what}"], style, color=colour, label=name)
        ax.set(title=what.capitalize(), xlabel="epoch", ylabel=f"{what} {unit and f'({unit})'}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
        ax.legend()
    return figure


def step_losses(histories: dict[str, History], window: int = 50) -> Figure:
    """The training loss of every step as a moving average over `window` steps, logarithmic.

    The losses themselves lie behind it in grey where there is one history only.
    """
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    ax = figure.subplots()
    for (name, history), (colour, style) in zip(histories.items(), cycle(LOOKS), strict=False):
        losses = np.array(history.step_losses)
        if not len(losses):  # stopped at once
            continue
        width = max(1, min(window, len(losses)))
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        if len(histories) == 1:
            ax.plot(np.arange(len(losses)) + 1, losses, color=GREY, alpha=0.4, lw=0.6)
        ax.plot(np.arange(len(smooth)) + width, smooth, style, color=colour, lw=2, label=name)
    ax.set(title=f"Training loss, mean of {window} steps", xlabel="step", yscale="log")
    ax.set_ylabel("loss (nats, log scale)")
    ax.grid(alpha=0.3, which="both")
    if ax.lines:
        ax.legend()
    return figure


def learning_rates(recipes: dict[str, Recipe], steps_per_epoch: int) -> Figure:
    """The learning rate of every step under several recipes."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    ax = figure.subplots()
    for (name, recipe), (colour, style) in zip(recipes.items(), cycle(LOOKS), strict=False):
        steps = range(recipe.epochs * steps_per_epoch)
        rates = [learning_rate_at(recipe, step, steps_per_epoch) for step in steps]
        ax.plot(np.array(steps) / steps_per_epoch, rates, style, color=colour, label=name)
    ax.set(title="Learning rate", xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    ax.grid(alpha=0.3)
    ax.legend()
    return figure


def confusion(report: Report, view: str = "counts", ax: Axes | None = None) -> Axes:
    """The confusion matrix: `counts`, `rows` (each row sums to 1) or `errors` (no diagonal)."""
    counts = report.confusion.double()
    if view == "rows":
        counts = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    elif view == "errors":
        counts = counts.fill_diagonal_(0)
    elif view != "counts":
        raise ValueError(f"unknown view {view!r}: choose counts, rows or errors")
    ax = ax or Figure(figsize=(5.5, 5), layout="constrained").subplots()
    words = np.array([[_cell(value, view) for value in row] for row in counts.tolist()])
    sns.heatmap(
        counts.numpy(), annot=words, fmt="", ax=ax, cmap="Blues", square=True, cbar=False,
        annot_kws={"size": 8}, linewidths=0.5,
    )  # fmt: skip
    titles = {"counts": "Counts", "rows": "Share of each true digit", "errors": "Errors only"}
    ax.set(title=titles[view], xlabel="predicted digit", ylabel="true digit")
    ax.tick_params(rotation=0)
    return ax


def _cell(value: float, view: str) -> str:
    """The text of one cell of a confusion matrix; empty for nothing."""
    if value == 0:
        return ""
    return f"{value:.3f}".removeprefix("0") if view == "rows" else f"{value:.0f}"


def confusion_views(report: Report) -> Figure:
    """All three views of the confusion matrix side by side."""
    figure = Figure(figsize=(14, 4.8), layout="constrained")
    for ax, view in zip(figure.subplots(1, 3), ("counts", "rows", "errors"), strict=True):
        confusion(report, view, ax)
    return figure


def predictions(images: Tensor, labels: Tensor, probabilities: Tensor) -> Figure:
    """Images with true digit, prediction and its probability, five a row, right or wrong marked."""
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == labels).tolist()
    triples = zip(labels, predicted, confidence, right, strict=True)
    titles = [
        f"true {true}, predicted {guess} {RIGHT if ok else WRONG}\nprobability {share:.1%}"
        for true, guess, share, ok in triples
    ]
    figure = image_grid(images, titles, columns=5, limits=(0, 255))
    figure.set_size_inches(10, 2.4 * max(-(-len(images) // 5), 1))
    for ax, ok in zip(figure.axes, right, strict=False):
        ax.title.set_color(BLUE if ok else ORANGE)
    return figure


def probability_bars(
    image: Tensor, probabilities: Tensor, label: int | None = None, title: str = ""
) -> Figure:
    """An image and its ten probabilities as bars; the true digit's tick is marked where given."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.2))
    left.imshow(
        image.squeeze().numpy(), cmap="gray", vmin=0, vmax=255 if image.dtype == torch.uint8 else 1
    )
    left.set(title=title, xticks=[], yticks=[])
    best = int(probabilities.argmax())
    colours = [BLUE if digit == best else GREY for digit in range(10)]
    bars = right.bar(range(10), probabilities.tolist(), color=colours)
    right.bar_label(bars, [f"{value:.2f}" for value in probabilities.tolist()], fontsize=8)
    names = [f"{digit}\ntrue" if digit == label else str(digit) for digit in range(10)]
    right.set(xticks=range(10), ylim=(0, 1.12), xlabel="digit", ylabel="probability")
    right.set_xticklabels(names)
    right.set_title(f"prediction: {best}")
    return figure


def study_curves(study: "pd.DataFrame") -> Figure:
    """Loss and accuracy over the epochs, a column a model: a thin line a run, a thick one the mean.

    `study` has the rows of `read_study`.
    """
    names = list(study["model"].unique())
    # The training accuracy of a first epoch is far lower, and would flatten all the rest.
    lowest = study["validation_accuracy"].explode().astype(float).min() - 0.002
    figure = Figure(figsize=(2.5 * len(names) + 0.8, 5), layout="constrained")
    grid = figure.subplots(2, len(names), squeeze=False, sharey="row", sharex="col")
    for name, column in zip(names, grid.T, strict=True):
        runs = study[study["model"] == name]
        for ax, what in zip(column, ("loss", "accuracy"), strict=True):
            for part, colour, style in (("train", BLUE, "-"), ("validation", ORANGE, "--")):
                shortest = runs["epochs"].min()
                curves = np.array([curve[:shortest] for curve in runs[f"{part}_{what}"]])
                epochs = np.arange(curves.shape[1]) + 1
                ax.plot(epochs, curves.T, style, color=colour, alpha=0.5, lw=0.9)
                ax.plot(epochs, curves.mean(axis=0), style, color=colour, lw=2, label=part)
            ax.grid(alpha=0.3)
        column[0].set(title=name, yscale="log")
        column[1].set(xlabel="epoch")
        column[1].xaxis.get_major_locator().set_params(integer=True)
    grid[0, 0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    grid[0, 0].yaxis.set_major_formatter("{x:g}")
    grid[0, 0].yaxis.set_minor_formatter("")
    grid[0, 0].set_ylabel("loss (nats, log scale)")
    grid[1, 0].set(ylabel="accuracy", ylim=(lowest, None))
    grid[1, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid[0, 0].legend()
    return figure


def accuracy_by_size(table: "pd.DataFrame", size: str = "parameters") -> Figure:
    """Mean test accuracy and its 95 % interval against `parameters` or `multiply_adds`.

    `table` has the rows of `check_claims`; of each model, that with the most epochs is drawn.
    """
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    ax = figure.subplots()
    rows = table.sort_values("epochs").groupby("model", sort=False).tail(1).sort_values(size)
    below, above = rows["mean"] - rows["low"], rows["high"] - rows["mean"]
    ax.errorbar(
        rows[size], rows["mean"], yerr=[below, above], fmt="o", color=BLUE, capsize=4,
        label="mean over seeds, 95 % interval",
    )  # fmt: skip
    for row in rows.itertuples():
        place = (getattr(row, size), row.mean)
        ax.annotate(row.model, place, (-7, 0), textcoords="offset points", ha="right")
    ax.set(xscale="log", xlabel=f"{size.replace('_', '-')} (log scale)", ylabel="test accuracy")
    ax.set_title(f"Accuracy against {size.replace('_', '-')}")
    ax.margins(x=0.2, y=0.1)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    ax.grid(alpha=0.3, which="both")
    ax.legend(loc="lower right")
    return figure


def seed_spread(study: "pd.DataFrame", table: "pd.DataFrame") -> Figure:
    """Test accuracy of every run, a row a model, with the interval of the mean and the claim.

    `study` has the rows of `read_study`, `table` those of `check_claims`.
    """
    figure = Figure(figsize=(8, 0.7 * len(table) + 1.3), layout="constrained")
    ax = figure.subplots()
    labels = [f"{row.model}, {row.epochs} epochs" for row in table.itertuples()]
    places = np.arange(len(table))
    for place, row in zip(places, table.itertuples(), strict=True):
        runs = study[study["model"] == row.model]
        same = runs[runs["epochs"] == row.epochs]
        values = (same if len(same) else within(runs, row.epochs))["test_accuracy"]
        ax.plot(values, np.full(len(values), place), "o", color=BLUE, mfc="none", label="one run")
    half = table["high"] - table["mean"]
    ax.errorbar(
        table["mean"], places + 0.22, xerr=half, fmt="|", ms=10, color=BLACK, capsize=4,
        label="mean, 95 % interval",
    )  # fmt: skip
    ax.plot(table["claimed"], places - 0.22, "v", color=ORANGE, label="claim")
    ax.set(yticks=places, title="Every seed gives another score", xlabel="test accuracy")
    ax.set_yticklabels(labels)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    ax.invert_yaxis()
    ax.grid(alpha=0.3, axis="x")
    handles, names = ax.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    ax.legend(unique.values(), unique.keys(), loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def calibration_curve(report: Report, bins: int = 15) -> Figure:
    """Accuracy against confidence, bin by bin, and how many predictions each bin holds."""
    table = calibration(report.probabilities, report.labels, bins)
    error = expected_calibration_error(report.probabilities, report.labels, bins)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], ":", color=GREY, label="perfectly calibrated")
    left.plot(table["confidence"], table["accuracy"], "o-", color=BLUE, label="model")
    left.set(title=f"Calibration, ECE {error:.4f}", xlabel="confidence", ylabel="accuracy")
    left.legend()
    right.bar(table["confidence"], table["count"], width=0.8 / bins, color=BLUE)
    right.set(title="Predictions by confidence", xlabel="confidence", xlim=(0, 1.03))
    right.set(ylabel="count (log scale)", yscale="log")
    return figure


def ladder(runs: "pd.DataFrame") -> Figure:
    """Mean seconds of each entry on a log scale, with its mean accuracy and spread beside it.

    `runs` has a row a run with the columns `name`, `seconds` and `accuracy`; names keep their
    order, the first on top.
    """
    groups = dict(list(runs.groupby("name", sort=False)))
    figure = Figure(figsize=(8, 0.4 * len(groups) + 1.1), layout="constrained")
    ax = figure.subplots()
    seconds = [group["seconds"].mean() for group in groups.values()]
    places = np.arange(len(groups))
    ax.barh(places, seconds, color=BLUE, height=0.6)
    for place, value, group in zip(places, seconds, groups.values(), strict=True):
        spread = 100 * group["accuracy"].std()
        text = f" {value:.2f} s, {group['accuracy'].mean():.2%} ± {spread:.2f}"
        ax.annotate(text, (value, place), va="center")
    ax.set(yticks=places, xscale="log", xlabel="seconds, mean (log scale)")
    ax.set_yticklabels(groups)
    ax.set_xlim(min(seconds) / 2, max(seconds) * 40)
    ax.set_title("Time, and accuracy with its standard deviation in points")
    ax.invert_yaxis()
    ax.grid(alpha=0.3, axis="x")
    return figure


def time_shares(parts: dict[str, dict[str, float]]) -> Figure:
    """Where the time goes: a bar for each program, its parts side by side, in milliseconds.

    `parts` gives for each program the milliseconds of each part; all have the same parts, four
    at most.
    """
    figure = Figure(figsize=(8, 0.8 * len(parts) + 1.2), layout="constrained")
    ax = figure.subplots()
    left = np.zeros(len(parts))
    styles = ((BLUE, ""), (ORANGE, "//"), (GREY, ".."), (BLACK, "xx"))
    names = list(next(iter(parts.values())))
    for name, (color, hatch) in zip(names, styles[: len(names)], strict=True):
        width = np.array([program[name] for program in parts.values()])
        ax.barh(
            list(parts), width, left=left, label=name, height=0.6,
            color=color, hatch=hatch, edgecolor="white",
        )  # fmt: skip
        left += width
    ax.set(xlabel="milliseconds for 1,000 images", title="Where the time goes")
    ax.invert_yaxis()
    ax.grid(alpha=0.3, axis="x")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def changes(study: "pd.DataFrame") -> Figure:
    """Test accuracy and the gap between training and validation, a row for each change.

    A circle is a run, a bar the mean with its 95 % interval. `study` has the rows of `read_study`;
    the first model is what the others are compared with.
    """
    groups = dict(list(study.groupby("model", sort=False)))
    figure = Figure(figsize=(9.5, 0.33 * len(groups) + 1.2), layout="constrained")
    columns = figure.subplots(1, 2, sharey=True)
    titles = ("test accuracy", "training less validation accuracy, in points")
    for ax, title in zip(columns, titles, strict=True):
        for place, runs in enumerate(groups.values()):
            values = runs["test_accuracy"]
            if ax is columns[1]:
                last = [runs[f"{part}_accuracy"].str[-1] for part in ("train", "validation")]
                values = 100 * (last[0] - last[1])
            low, high = mean_interval(list(values))
            if place == 0:
                ax.axvspan(low, high, color=GREY, alpha=0.25, lw=0)
            ax.plot(values, np.full(len(values), place), "o", color=BLUE, mfc="none", ms=5)
            ax.errorbar(
                values.mean(), place, xerr=values.mean() - low, fmt="|", ms=13,
                color=BLACK, capsize=3,
            )  # fmt: skip
        ax.set(xlabel=title, yticks=range(len(groups)))
        ax.grid(alpha=0.3, axis="x")
    columns[0].set_yticklabels(groups)
    columns[0].xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    columns[1].axvline(0, color=BLACK, lw=0.8)
    columns[0].invert_yaxis()
    figure.suptitle("One change at a time")
    return figure


def error_by_size(runs: "pd.DataFrame") -> Figure:
    """Test error against the number of training digits, a line for each change, both logarithmic.

    `runs` has a row a run with the columns `change`, `size` and `error` (a fraction).
    """
    marks = "os^vD*Px<>"
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    ax = figure.subplots()
    names = list(runs["change"].unique())
    for number, name in enumerate(names):
        groups = runs[runs["change"] == name].groupby("size")["error"]
        means = groups.mean()
        half = means - groups.apply(lambda values: mean_interval(list(values))[0])
        colour, style = LOOKS[number % len(LOOKS)]
        nudged = means.index * 1.05 ** (number - len(names) / 2)
        ax.errorbar(
            nudged, means, yerr=half, fmt=marks[number] + style, color=colour, capsize=3,
            mfc="white" if number >= len(LOOKS) else colour, label=name,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="training digits", ylabel="test error")
    ax.set_title("What helps with few digits: mean over seeds, 95 % interval")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.yaxis.set_minor_formatter("")
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def errors_by_corruption(tables: "dict[str, pd.DataFrame]") -> Figure:
    """Error for each corruption, with 95 % intervals: a mark for each model, at most four.

    `tables` gives for each model's name a table with the columns `corruption`, `error`, `low` and
    `high` (fractions), as `corruption_errors` returns.
    """
    first = next(iter(tables.values()))
    figure = Figure(figsize=(8, 0.3 * len(first) + 1.2), layout="constrained")
    ax = figure.subplots()
    places = np.arange(len(first))
    for number, (name, table) in enumerate(tables.items()):
        ends = [table["error"] - table["low"], table["high"] - table["error"]]
        ax.errorbar(
            table["error"], places + 0.22 * (number - (len(tables) - 1) / 2), xerr=ends,
            fmt="osv^"[number], capsize=3, label=name,
            color=LOOKS[number][0],
        )  # fmt: skip
    ax.set(yticks=places, xlabel="error", title="Error for each corruption, 95 % interval")
    ax.set_yticklabels(first["corruption"])
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlim(0, None)
    ax.invert_yaxis()
    ax.grid(alpha=0.3)
    ax.legend()
    return figure


def accuracy_against(
    curves: dict[str, dict[float, float]], xlabel: str, title: str = "", ax: Axes | None = None
) -> Axes:
    """Accuracy (fractions) against a strength, a line for each name, at most four."""
    if ax is None:
        ax = Figure(figsize=(5.5, 3.6), layout="constrained").subplots()
    for (name, curve), (colour, style), mark in zip(curves.items(), LOOKS, "osv^", strict=False):
        ax.plot(list(curve), list(curve.values()), mark + style, color=colour, label=name)
    ax.set(xlabel=xlabel, ylabel="accuracy", title=title, ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.grid(alpha=0.3)
    if len(curves) > 1:
        ax.legend()
    return ax


def handwriting_steps(found: Sequence[FoundDigit], names: Sequence[str] = ()) -> Figure:
    """How each digit was found, a row a digit: from the picture to 28x28 pixels.

    What digits of the same picture share is shown once.

    Args:
        found: from `digits_from_image`.
        names: one a digit, to stand before its row.
    """
    titles = ("picture", "its paper", "ink: the difference", "marks", "cut out", "28 x 28")
    figure = Figure(figsize=(9, 0.4 + 1.45 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), len(titles), squeeze=False)
    shown = None
    for row, digit in zip(grid, found, strict=True):
        steps = list(digit.steps.values())
        shared = 4 if steps[0] is shown else 0
        shown = steps[0]
        limits = [(0, 1), (0, 1), (0, float(steps[2].max())), (0, 1), (0, 1), (0, 255)]
        for index, (ax, step, (low, high)) in enumerate(zip(row, steps, limits, strict=True)):
            ax.set(xticks=[], yticks=[])
            if index < shared:
                ax.spines[:].set_visible(False)
            else:
                ax.imshow(step, cmap="gray", vmin=low, vmax=high)
    for ax, title in zip(grid[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
    for ax, name in zip(grid[:, 0], names, strict=False):
        ax.set_ylabel(name, fontsize=9)
    return figure


def readings_on_page(picture: np.ndarray, readings: Sequence[Reading]) -> Figure:
    """The picture `[H, W]` with a box around each digit, what was read, and how surely."""
    height, width = picture.shape[:2]
    figure = Figure(figsize=(4.8, 4.8 * height / width), layout="constrained")
    ax = figure.subplots()
    ax.imshow(picture, cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    for reading in readings:
        left, top, right, bottom = reading.found.box
        unsure = reading.sure is False
        colour, style = (ORANGE, "--") if unsure else (BLUE, "-")
        edges = [left, right, right, left, left], [top, top, bottom, bottom, top]
        ax.plot(*edges, color=colour, linestyle=style, linewidth=2)
        words = f"{reading.digit}{'?' if unsure else ''}  {reading.probability:.0%}"
        box = {"facecolor": "white", "edgecolor": colour, "boxstyle": "round,pad=0.2"}
        ax.text(left, top - 0.02 * height, words, fontsize=10, color=colour, bbox=box)
    return figure
