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
SHARED = 4  # of the six are of the whole picture
ROW, PAGE = 1.45, 4.0  # inches: how high the steps of a digit are, and a page
Panel = tuple[str, str, np.ndarray, float]  # a name before it, its title, its pixels, white


def handwriting_steps(found: Sequence[FoundDigit], names: Sequence[str] = ()) -> Figure:
    """How each digit was found: a row of steps, from the picture to 28x28 pixels.

    What digits of the same picture share is shown once; three of the others stand in a row.

    Args:
        found: from `digits_from_image`. names: one a digit, to stand before its steps.
    """
    rows = _rows(found, names)
    figure, grid = house_axes(9, 0.4 + ROW * len(rows), len(rows), len(TITLES), squeeze=False)
    _steps(grid, rows)
    return figure


def _rows(found: Sequence[FoundDigit], names: Sequence[str]) -> list[list[Panel]]:
    """The panels of each row, at most six."""
    rows: list[list[Panel]] = []
    shown = None
    for number, digit in enumerate(found):
        steps = list(digit.steps.values())
        panels = list(zip(TITLES, steps, (1, 1, float(steps[2].max()), 1, 1, 255), strict=True))
        own = panels[SHARED:] if steps[0] is shown else panels
        if steps[0] is not shown or len(rows[-1]) == len(TITLES):
            rows.append([])
        name = names[number] if names else ""
        rows[-1] += [(name, *own[0]), *(("", *panel) for panel in own[1:])]
        shown = steps[0]
    return rows


def _steps(grid: np.ndarray, rows: Sequence[Sequence[Panel]]) -> None:
    """The panels on axes `[N, 6]`."""
    for axes, row in zip(grid, rows, strict=True):
        for ax, (name, title, step, white) in zip(axes, row, strict=False):
            ax.imshow(step, cmap="gray", vmin=0, vmax=white)
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize=9)
            ax.set_ylabel(name, fontsize=9, parse_math=False)
        for ax in axes[len(row) :]:
            ax.remove()


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
    rows = _rows([one.found for _, one in shown], names)
    heights = [PAGE] * len(pages) + [ROW] * len(rows)
    figure, grid = house_axes(
        9, 0.4 + sum(heights), len(heights), len(TITLES), squeeze=False, height_ratios=heights
    )
    for index, (path, ones) in enumerate(pages):
        for ax in grid[index]:
            ax.remove()
        ax = figure.add_subplot(grid[index, 0].get_gridspec()[index, :])
        ax.set_title(path.name, fontsize=10, parse_math=False)
        picture = read_picture(path)
        _boxes_on(ax, picture.pixels, picture.size, ones)
    _steps(grid[len(pages) :], rows)
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
