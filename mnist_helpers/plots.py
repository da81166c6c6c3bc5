"""The house style, and the figures of notebooks 01 to 05. Nothing here shows a figure itself.

Colours are Okabe and Ito's, which the colour-blind can tell apart; no colour stands alone: line
styles, marks or numbers say the same, so a grey print can be read too.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from mnist_helpers.evaluation import Report, calibration, wilson_interval
from mnist_helpers.evaluation import expected_calibration_error as ece
from mnist_helpers.history import History
from mnist_helpers.recipes import Recipe, learning_rate_at
from PIL import Image
from torch import Tensor

BLUE, ORANGE, GREY, BLACK = "#0072B2", "#D55E00", "#777777", "#000000"
HATCHES = ("", "//", "..", "xx")  # for areas, as the line styles are for lines
RIGHT, WRONG = "✓", "✗"
CONFUSION_VIEWS = {"counts": "Blues", "rows": "Greens", "errors": "Oranges"}  # and their colours
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


class describe:  # noqa: N801 - read as what it does
    """A figure with its alternative text, for those who cannot see it: a cell's last line."""

    def __init__(self, figure: Figure, alt: str) -> None:
        self.figure, self.alt = figure, alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        png = as_png(self.figure)
        picture = Image.open(BytesIO(png))
        scale = 80 / round(picture.info["dpi"][0])  # fewer pixels on the page: sharp on any screen
        width, height = (round(scale * size) for size in picture.size)
        shown = {"alt": self.alt, "width": width, "height": height}
        return {"image/png": png, "text/plain": f"Figure: {self.alt}"}, {"image/png": shown}


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG file in 256 colours, on white, so that it can be read in dark mode.

    160 dots an inch, or 80 where that is over 110 kB: photos, which have no fine lines.
    """
    for dpi in (160, 80):
        buffer, small = BytesIO(), BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", bbox_inches="tight")
        picture = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture.save(small, format="png", optimize=True, dpi=(dpi, dpi))
        if small.tell() < 110_000:
            break
    return small.getvalue()


def image_grid(
    images: Tensor | np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int = 10,
    title: str = "",
    cmap: str = "gray",
    limits: tuple[float, float] | None = None,
    bar: str = "",
) -> Figure:
    """Images `[N, H, W]` or `[N, 1, H, W]`, in rows; N at most 100 reads well.

    Without `limits` (the values of black and white) each image has its own. With `bar`, the label
    of a colour bar, all have one scale. `RdBu_r` is centred on 0.
    """
    images = torch.as_tensor(np.asarray(images)).squeeze(1) if len(images) else torch.empty(0)
    columns = max(min(columns, len(images)), 1)
    rows = max(-(-len(images) // columns), 1)
    size = min(11.5 / columns, 2.2)
    height = rows * (size if titles is None else size + 0.3) + (0.4 if title else 0)
    figure, grid = house_axes(max(columns * size, 4), height, rows, columns, squeeze=False)
    if bar and limits is None:
        limits = float(images.min()), float(images.max())
    for index, ax in enumerate(grid.flat):
        ax.axis("off")
        if index < len(images):
            image = images[index].float()
            low, high = limits or (float(image.min()), float(image.max()))
            if cmap == "RdBu_r":
                low, high = -max(-low, high), max(-low, high)
            picture = ax.imshow(image.numpy(), cmap=cmap, vmin=low, vmax=high)
            if titles is not None:
                ax.set_title(titles[index], fontsize=9)
    if bar:
        figure.colorbar(picture, ax=grid, label=bar, shrink=0.9)
    figure.suptitle(title)
    return figure


def pixel_values(image: Tensor) -> Figure:
    """One image, uint8 `[1, 28, 28]`, with the value written into every pixel that has ink."""
    figure, ax = house_axes(8.5, 8.5)
    values = image.squeeze().numpy()
    look = {"cmap": "gray", "annot_kws": {"size": 7}, "cbar": False, "square": True}
    words = np.where(values > 0, values.astype(str), "")
    sns.heatmap(values, ax=ax, annot=words, fmt="", **look)
    ax.set(title="One digit as numbers: 0 is paper, 255 is ink", xlabel="column", ylabel="row")
    return figure


def class_counts(sets: dict[str, Tensor]) -> Figure:
    """Share of each digit in up to four sets of labels, as bars side by side."""
    figure, ax = house_axes(8, 3.2)
    width = 0.8 / len(sets)
    marks = zip(sets.items(), HATCHES[: len(sets)], strict=True)
    for index, ((name, labels), hatch) in enumerate(marks):
        share = (torch.bincount(labels, minlength=10) / len(labels)).numpy()
        place = np.arange(10) + (index - (len(sets) - 1) / 2) * width
        label = f"{name} ({len(labels):,})"
        ax.bar(place, share, width, label=label, hatch=hatch, edgecolor="white")
    ax.set(title="Share of each digit", xlabel="digit", ylabel="share of the set")
    ax.set(xticks=range(10), ylim=(0, 1.25 * ax.get_ylim()[1]))
    ax.legend(ncols=3, loc="upper center")
    return figure


def training_curves(history: History) -> Figure:
    """Loss and error, 1 - accuracy, of training and validation over the epochs, logarithmic."""
    frame = history.to_frame()
    figure, columns = house_axes(9, 3.4, columns=2, grid="both")
    for ax, what, unit in zip(columns, ("loss", "error"), ("nats", "1 - accuracy"), strict=True):
        for name, mark in (("train", "o"), ("validation", "s")):
            values = frame[f"{name}_loss"] if ax is columns[0] else 1 - frame[f"{name}_accuracy"]
            ax.plot(frame["epoch"], values, marker=mark, label=name)
        ax.set(title=what.capitalize(), xlabel="epoch", ylabel=f"{what} ({unit}, log scale)")
        log_axis(ax)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    return figure


def log_axis(ax: Axes, numbers: str = "{x:g}") -> None:
    """A logarithmic vertical axis with numbers at 1, 2, 5, 10 and so on; a zero is left out."""
    ax.set_yscale("log", nonpositive="mask")
    places = LogLocator(subs=(1, 2, 5))
    ax.yaxis.set(major_locator=places, major_formatter=numbers, minor_formatter="")


def step_losses(
    histories: dict[str, History], window: int = 50, top: float | None = None
) -> Figure:
    """The training loss of every step as a mean of the last `window` steps, logarithmic.

    The losses themselves lie behind it in grey where there is one history only. With `top` the
    axis ends there, and the title says so.
    """
    figure, ax = house_axes(8, 3.4, grid="both")
    for name, history in histories.items():
        losses = pd.Series(history.step_losses, range(1, len(history.step_losses) + 1), float)
        if losses.empty:  # stopped at once
            continue
        if len(histories) == 1:
            ax.plot(losses, "-", color=GREY, alpha=0.4, lw=0.6)
        ax.plot(losses.rolling(window, min_periods=1).mean(), lw=2, label=name)
    cut = "" if top is None else f", cut off at {top:g}"
    what = f"mean of the last {window} steps" if window > 1 else "each step"
    ax.set_title(f"Training loss, {what}{cut}")
    ax.set(xlabel="step", ylabel="loss (nats, log scale)")
    log_axis(ax)
    ax.set_ylim(None, top)
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
    if view not in CONFUSION_VIEWS:
        raise ValueError(f"unknown view {view!r}: choose counts, rows or errors")
    counts = report.confusion.double()
    if view == "rows":
        counts /= counts.sum(dim=1, keepdim=True).clamp(min=1)
    elif view == "errors":
        counts.fill_diagonal_(0)
    ax = ax or house_axes(5.5, 5)[1]
    text = "{:.3f}" if view == "rows" else "{:.0f}"
    words = [[text.format(n).lstrip("0") if n else "" for n in row] for row in counts.tolist()]
    # A colour for each view, and for shares a log scale: else the diagonal hides all else.
    norm = LogNorm(1e-4, 1) if view == "rows" else None
    look: dict[str, Any] = {"annot_kws": {"size": 8}, "linewidths": 0.5, "linecolor": "#dddddd"}
    look |= {"cmap": CONFUSION_VIEWS[view], "norm": norm, "square": True, "cbar": False}
    sns.heatmap(counts.numpy(), annot=words, fmt="", ax=ax, **look)
    titles = {"counts": "Counts", "rows": "Share of each true digit (log colours)"}
    ax.set(title=titles.get(view, "Errors only"), xlabel="predicted digit", ylabel="true digit")
    ax.tick_params(rotation=0)
    return ax


def confusion_views(report: Report) -> Figure:
    """All three views of the confusion matrix side by side."""
    figure, columns = house_axes(14, 4.8, columns=3)
    for ax, view in zip(columns, CONFUSION_VIEWS, strict=True):
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
    white = 255 if images.dtype == torch.uint8 else 1
    figure = image_grid(images, titles, columns=5, limits=(0, white))
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
    figure, (left, right) = house_axes(9, 3.6, columns=2)
    rights = (table["accuracy"] * table["count"]).round().astype(int)
    ends = [wilson_interval(*pair) for pair in zip(rights, table["count"], strict=True)]
    bounds = np.abs(np.array(ends).reshape(-1, 2).T - np.array(table["accuracy"]))
    label = "model, 95 % intervals"
    left.errorbar(table["confidence"], table["accuracy"], bounds, fmt="o", capsize=3, label=label)
    left.plot([0, 1], [0, 1], ":", color=GREY, label="perfectly calibrated")
    left.set(
        title=f"Calibration, ECE {ece(report.probabilities, report.labels, bins):.4f}",
        xlabel="confidence",
        ylabel="accuracy",
    )
    left.legend()
    right.bar((table.index + 0.5) / bins, table["count"], width=0.9 / bins)
    right.set(title="Predictions by confidence", xlabel="confidence", xlim=(0, 1.03))
    right.set(ylabel="count (log scale)", yscale="log")
    return figure
