"""The house style, and the figures of notebooks 01 to 05. Nothing here shows a figure itself.

Colours are Okabe and Ito's, which the colour-blind can tell apart; no colour stands alone: line
styles, marks or numbers say the same, so a grey print can be read too.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import seaborn as sns
import torch
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mnist_helpers.evaluation import Report, calibration, expected_calibration_error
from mnist_helpers.history import History
from mnist_helpers.recipes import Recipe, learning_rate_at

BLUE, ORANGE, GREY, BLACK = "#0072B2", "#D55E00", "#777777", "#000000"
HATCHES = ("", "//", "..", "xx")  # for areas, as the line styles are for lines
RIGHT, WRONG = "✓", "✗"
STYLE: dict[str, Any] = {
    "axes.prop_cycle": cycler(color=(BLUE, ORANGE, GREY, BLACK), linestyle=("-", "--", "-.", ":")),
    "axes.axisbelow": True,
    "axes.grid.which": "both",
    "grid.alpha": 0.3,
    "hatch.linewidth": 1.0,
}


def house_axes(
    width: float, height: float, rows: int = 1, columns: int = 1, grid: str = "", **options: Any
) -> tuple[Figure, Any]:
    """A figure of that size in inches, in the style of the house, and its axes.

    Args:
        width, height: in inches. rows, columns: how many axes; one stands by itself, else an array.
        grid: lines along `x`, `y` or `both`; empty: none.
        options: of matplotlib's `Figure.subplots`, such as `sharey`.
    """
    lines: dict[str, Any] = {"axes.grid": bool(grid), "axes.grid.axis": grid or "both"}
    with rc_context({**STYLE, **lines}):  # type: ignore[dict-item]
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **options)


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
    images are compared. `RdBu_r` is centred on 0.
    """
    images = torch.as_tensor(np.asarray(images)).squeeze(1) if len(images) else torch.empty(0)
    columns = max(min(columns, len(images)), 1)
    rows = max(-(-len(images) // columns), 1)
    size = min(11.5 / columns, 2.2)
    height = rows * (size if titles is None else size + 0.3) + (0.4 if title else 0)
    figure, grid = house_axes(max(columns * size, 4), height, rows, columns, squeeze=False)
    for index, ax in enumerate(grid.flat):
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
    figure, ax = house_axes(8.5, 8.5)
    values = image.squeeze().numpy()
    words, small = np.where(values > 0, values.astype(str), ""), {"size": 7}
    sns.heatmap(
        values, ax=ax, cmap="gray", annot=words, fmt="", annot_kws=small, cbar=False, square=True
    )
    ax.set(title="One digit as numbers: 0 is paper, 255 is ink", xlabel="column", ylabel="row")
    return figure


def class_counts(sets: dict[str, Tensor]) -> Figure:
    """Share of each digit in up to four sets of labels, as bars side by side."""
    figure, ax = house_axes(8, 3.2)
    width = 0.8 / len(sets)
    for index, ((name, labels), hatch) in enumerate(zip(sets.items(), HATCHES, strict=False)):
        share = (torch.bincount(labels, minlength=10) / len(labels)).numpy()
        place = np.arange(10) + (index - (len(sets) - 1) / 2) * width
        label = f"{name} ({len(labels):,})"
        ax.bar(place, share, width, label=label, hatch=hatch, edgecolor="white")
    ax.set(title="Share of each digit", xlabel="digit", ylabel="share of the set")
    ax.set(xticks=range(10), ylim=(0, 1.25 * ax.get_ylim()[1]))
    ax.legend(ncols=3, loc="upper center")
    return figure


def training_curves(history: History) -> Figure:
    """Loss and accuracy of training and validation over the epochs, side by side."""
    frame = history.to_frame()
    figure, columns = house_axes(9, 3.4, columns=2, grid="both")
    for ax, what, unit in zip(columns, ("loss", "accuracy"), ("nats", ""), strict=True):
        for name, mark in (("train", "o"), ("validation", "s")):
            ax.plot(frame["epoch"], frame[f"{name}_{what}"], marker=mark, label=name)
        ax.set(title=what.capitalize(), xlabel="epoch", ylabel=f"{what} {unit and f'({unit})'}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    return figure


def step_losses(histories: dict[str, History], window: int = 50) -> Figure:
    """The training loss of every step as a moving average over `window` steps, logarithmic.

    The losses themselves lie behind it in grey where there is one history only.
    """
    figure, ax = house_axes(8, 3.4, grid="both")
    for name, history in histories.items():
        losses = np.array(history.step_losses)
        if not len(losses):  # stopped at once
            continue
        width = max(1, min(window, len(losses)))
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        if len(histories) == 1:
            ax.plot(np.arange(len(losses)) + 1, losses, "-", color=GREY, alpha=0.4, lw=0.6)
        ax.plot(np.arange(len(smooth)) + width, smooth, lw=2, label=name)
    ax.set(title=f"Training loss, mean of {window} steps", xlabel="step", yscale="log")
    ax.set_ylabel("loss (nats, log scale)")
    if ax.lines:
        ax.legend()
    return figure


def learning_rates(recipes: dict[str, Recipe], steps_per_epoch: int) -> Figure:
    """The learning rate of every step under several recipes."""
    figure, ax = house_axes(8, 3, grid="both")
    for name, recipe in recipes.items():
        steps = range(recipe.epochs * steps_per_epoch)
        rates = [learning_rate_at(recipe, step, steps_per_epoch) for step in steps]
        ax.plot(np.array(steps) / steps_per_epoch, rates, label=name)
    ax.set(title="Learning rate", xlabel="epoch", ylabel="learning rate", ylim=(0, None))
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
    ax = ax or house_axes(5.5, 5)[1]
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
    figure, columns = house_axes(14, 4.8, columns=3)
    for ax, view in zip(columns, ("counts", "rows", "errors"), strict=True):
        confusion(report, view, ax)
    return figure


def predictions(images: Tensor, labels: Tensor, probabilities: Tensor) -> Figure:
    """Images with true digit, prediction and its probability, five a row, right or wrong marked."""
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == labels).tolist()
    titles = [
        f"true {true}, predicted {guess} {RIGHT if ok else WRONG}\nprobability {share:.1%}"
        for true, guess, share, ok in zip(labels, predicted, confidence, right, strict=True)
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
    figure, (left, right) = house_axes(8, 2.8, columns=2, width_ratios=(1, 2.2))
    white = 255 if image.dtype == torch.uint8 else 1
    left.imshow(image.squeeze().numpy(), cmap="gray", vmin=0, vmax=white)
    left.set(title=title, xticks=[], yticks=[])
    best = int(probabilities.argmax())
    colours = [BLUE if digit == best else GREY for digit in range(10)]
    bars = right.bar(range(10), probabilities.tolist(), color=colours)
    right.bar_label(bars, [f"{value:.2f}" for value in probabilities.tolist()], fontsize=8)
    names = [f"{digit}\ntrue" if digit == label else str(digit) for digit in range(10)]
    right.set_xticks(range(10), names)
    right.set(title=f"prediction: {best}", xlabel="digit", ylabel="probability", ylim=(0, 1.12))
    return figure


def calibration_curve(report: Report, bins: int = 15) -> Figure:
    """Accuracy against confidence, bin by bin, and how many predictions each bin holds."""
    table = calibration(report.probabilities, report.labels, bins)
    error = expected_calibration_error(report.probabilities, report.labels, bins)
    figure, (left, right) = house_axes(9, 3.6, columns=2)
    left.plot(table["confidence"], table["accuracy"], marker="o", label="model")
    left.plot([0, 1], [0, 1], ":", color=GREY, label="perfectly calibrated")
    left.set(title=f"Calibration, ECE {error:.4f}", xlabel="confidence", ylabel="accuracy")
    left.legend()
    right.bar(table["confidence"], table["count"], width=0.8 / bins)
    right.set(title="Predictions by confidence", xlabel="confidence", xlim=(0, 1.03))
    right.set(ylabel="count (log scale)", yscale="log")
    return figure
