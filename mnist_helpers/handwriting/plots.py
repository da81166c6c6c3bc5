"""The figures of notebook 09."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mnist_helpers.handwriting.digits import FoundDigit
from mnist_helpers.handwriting.reading import Reading
from mnist_helpers.plots import BLUE, ORANGE, house_axes


def handwriting_steps(found: Sequence[FoundDigit], names: Sequence[str] = ()) -> Figure:
    """How each digit was found, a row a digit: from the picture to 28x28 pixels.

    What digits of the same picture share is shown once.

    Args:
        found: from `digits_from_image`. names: one a digit, to stand before its row.
    """
    titles = ("picture", "its paper", "ink: the difference", "marks", "cut out", "28 x 28")
    size = 9, 0.4 + 1.45 * len(found)
    figure, grid = house_axes(*size, len(found), len(titles), squeeze=False)
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


def steps_of_files(shown: Sequence[tuple[Path, Reading]]) -> Figure:
    """`handwriting_steps` of digits in several files, each with its file's name and its answer."""
    names = [f"{path.name}\n{one}" for path, one in shown]
    return handwriting_steps([one.found for _, one in shown], names)


def readings_on_page(picture: np.ndarray, readings: Sequence[Reading]) -> Figure:
    """The picture `[H, W]` with a box around each digit, what was read, and how surely."""
    height, width = picture.shape[:2]
    figure, ax = house_axes(4.8, 4.8 * height / width)
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
