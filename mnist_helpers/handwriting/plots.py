"""The figures of notebook 09."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mnist_helpers.handwriting.digits import FoundDigit
from mnist_helpers.handwriting.image_files import read_picture
from mnist_helpers.handwriting.reading import Reading
from mnist_helpers.plots import BLUE, ORANGE, house_axes

TITLES = ("picture", "its paper", "ink: the difference", "marks", "cut out", "28 x 28")
ROW, PAGE = 1.45, 4.0  # inches: how high the steps of a digit are, and a page


def handwriting_steps(found: Sequence[FoundDigit], names: Sequence[str] = ()) -> Figure:
    """How each digit was found, a row a digit: from the picture to 28x28 pixels.

    What digits of the same picture share is shown once.

    Args:
        found: from `digits_from_image`. names: one a digit, to stand before its row.
    """
    figure, grid = house_axes(9, 0.4 + ROW * len(found), len(found), len(TITLES), squeeze=False)
    _steps(grid, found, names)
    return figure


def _steps(grid: np.ndarray, found: Sequence[FoundDigit], names: Sequence[str]) -> None:
    """The steps on axes `[N, 6]`."""
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
    for ax, title in zip(grid[0], TITLES, strict=True):
        ax.set_title(title, fontsize=10)
    for ax, name in zip(grid[:, 0], names, strict=False):
        ax.set_ylabel(name, fontsize=9)


def steps_of_files(shown: Sequence[tuple[Path, Reading]]) -> Figure:
    """Each page of which several digits are shown, with their numbers; then each digit's steps.

    Args:
        shown: the files, and what was read in them.
    """
    on_page: dict[Path, list[tuple[str, Reading]]] = {}
    for number, (path, one) in enumerate(shown, start=1):
        on_page.setdefault(path, []).append((str(number), one))
    pages = [(path, ones) for path, ones in on_page.items() if len(ones) > 1]
    names = [f"{path.name}\n{number}: {one}" for number, (path, one) in enumerate(shown, start=1)]
    heights = [PAGE] * len(pages) + [ROW] * len(shown)
    figure, grid = house_axes(
        9, 0.4 + sum(heights), len(heights), len(TITLES), squeeze=False, height_ratios=heights
    )
    for index, (path, ones) in enumerate(pages):
        for ax in grid[index]:
            ax.remove()
        ax = figure.add_subplot(grid[index, 0].get_gridspec()[index, :])
        ax.set_title(path.name, fontsize=10)
        picture = read_picture(path)
        _boxes_on(ax, picture.pixels, picture.size, ones)
    _steps(grid[len(pages) :], [one.found for _, one in shown], names)
    return figure


def readings_on_page(picture: np.ndarray, readings: Sequence[Reading]) -> Figure:
    """The picture `[H, W]` with a box around each digit, what was read, and how surely."""
    height, width = picture.shape[:2]
    figure, ax = house_axes(4.8, 4.8 * height / width)
    words = [
        f"{one.digit}{'?' if one.sure is False else ''}  {one.probability:.0%}" for one in readings
    ]
    _boxes_on(ax, picture / 255, (width, height), list(zip(words, readings, strict=True)))
    return figure


def _boxes_on(
    ax: Any, pixels: np.ndarray, size: tuple[int, int], named: Sequence[tuple[str, Reading]]
) -> None:
    """A picture, pixels 0 to 1, and a named box around each digit.

    `size` is the picture's width and height as given: in its pixels the boxes are.
    """
    width, height = size
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    ax.set(xticks=[], yticks=[])
    for name, reading in named:
        left, top, right, bottom = reading.found.box
        unsure = reading.sure is False
        colour, style = (ORANGE, "--") if unsure else (BLUE, "-")
        edges = [left, right, right, left, left], [top, top, bottom, bottom, top]
        ax.plot(*edges, color=colour, linestyle=style, linewidth=2)
        box = {"facecolor": "white", "edgecolor": colour, "boxstyle": "round,pad=0.2"}
        ax.text(left, top - 0.02 * height, name, fontsize=10, color=colour, bbox=box)
