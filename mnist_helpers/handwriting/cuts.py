"""Digits that touch: cuts where the ink is thin, chosen by the model (09_handwriting.ipynb).

More cuts are proposed than there are digits; the model reads every piece between two of them, and
the way from left to right that it believes most is taken (Y. LeCun et al., "Gradient-based learning
applied to document recognition", 1998, section V).
"""

from collections.abc import Mapping
from itertools import combinations, product

import numpy as np
from mnist_helpers.handwriting.digits import close_around
from PIL import Image

HEIGHT = 40  # pixels of the copy in which cuts are looked for
APART, MARGIN = 0.1, 0.12  # of the height: between two cuts, and before the first one
THICKEST = 0.35  # of the height: no cut goes through more ink
LOWEST, WIDEST = 0.4, 1.4  # of a piece: its height beside HEIGHT, its width beside its height
ASIDE = 0.02  # price of a step to the side, in pixels of ink
BEYOND = (1, 3, 5, 7)  # pixels that a piece may take beyond a cut: crossing strokes share ink

Span = tuple[int, int]


def pieces(cut: np.ndarray) -> tuple[list[tuple[Span, np.ndarray]], np.ndarray]:
    """The ink between each two cuts that may be a digit, and where the cuts are.

    Args:
        cut: the ink of one mark or more, `[h, w]`, 0 to 1.

    Returns:
        The pieces, float32 `[HEIGHT or less, w]`, with the numbers of the cuts that bound them,
        from 0, the left edge; each up to four times, with more of the ink beyond. The mean
        place of each cut, 0 to 1 of the width, rising.
    """
    width = max(1, round(cut.shape[1] * HEIGHT / cut.shape[0]))
    resized = Image.fromarray(cut).resize((width, HEIGHT), Image.Resampling.BOX)
    ink, across = np.asarray(resized), np.arange(width)
    bounds = [np.zeros(HEIGHT), *_cuts(ink), np.full(HEIGHT, width)]
    found = []
    spans = combinations(enumerate(bounds), 2)
    for ((first, left), (last, right)), more in product(spans, BEYOND):
        if right.min() - left.max() > WIDEST * HEIGHT:  # on a long mark there are too many
            continue
        part = ink * ((across >= left[:, None] - more) & (across < right[:, None] + more))
        if (first, last) == (0, len(bounds) - 1) or (part > 0.5).sum() < HEIGHT / 4:
            continue
        part = close_around(part)
        if part.shape[0] >= LOWEST * HEIGHT and part.shape[1] <= WIDEST * part.shape[0]:
            found.append(((first, last), np.ascontiguousarray(part)))
    return found, np.array([bound.mean() / width for bound in bounds])


def likeliest(energies: Mapping[Span, float], last: int) -> tuple[float, list[Span]]:
    """The spans that lead from cut 0 to cut `last` with the least energy in all; inf and none."""
    ways: dict[int, tuple[float, list[Span]]] = {0: (0.0, [])}
    for end in range(1, last + 1):
        options = [
            (ways[start][0] + energies[start, end], [*ways[start][1], (start, end)])
            for start in range(end)
            if start in ways and (start, end) in energies
        ]
        if options:
            ways[end] = min(options)
    return ways.get(last, (np.inf, []))


def _cuts(ink: np.ndarray) -> list[np.ndarray]:
    """Ways from the top to the bottom through little ink: a column for each row, each `[h]`."""
    height, width = ink.shape
    cost, ways = _ways(ink)
    chosen: list[int] = []
    for column in np.argsort(cost, kind="stable"):
        inside = MARGIN * height <= column <= width - MARGIN * height
        if inside and all(abs(column - other) >= APART * height for other in chosen):
            chosen.append(column)
    return [ways[:, column] for column in sorted(chosen) if cost[column] <= THICKEST * height]


def _ways(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The way with the least ink through each column of the middle row: its ink, its columns."""
    height, width = ink.shape
    middle = height // 2
    ways = np.tile(np.arange(width), (height, 1))
    total = ink[middle].astype(float)
    for rows in (range(middle), range(height - 1, middle, -1)):  # from each edge to the middle
        cost, came = np.zeros(width), []
        for row in rows:
            around = np.pad(cost, 1, constant_values=np.inf)
            options = np.stack([around[:-2] + ASIDE, around[1:-1], around[2:] + ASIDE])
            came.append(options.argmin(axis=0) - 1)
            cost = options.min(axis=0) + ink[row]
        total += cost
        column = np.arange(width)
        for row, step in zip(reversed(rows), reversed(came), strict=True):
            ways[row] = column
            column = column + step[column]
    return total, ways
