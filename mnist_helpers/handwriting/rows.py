"""Which marks make a digit together, and in which row it stands (09_handwriting.ipynb)."""

import numpy as np
from mnist_helpers.handwriting.marks import DigitNotFound, Marks
from scipy.sparse.csgraph import connected_components

LOWEST, HIGHEST = 0.4, 1.15  # of a row's height: a dash is lower, a slash is higher
CORNER = 0.15  # of a side: further from the middle, both ways, is a corner
LUCK = 12.7, 4.3, 3.2  # 97.5 % points of Student's t distribution, for 1, 2, 3 degrees of freedom

Group = tuple[np.ndarray, np.ndarray]


def arrange(marks: Marks, smallest: float) -> tuple[list[list[Group]], float]:
    """The marks of each digit, row by row, and how the rows fall to the right.

    What is far smaller than most, such as a comma, is left out; so are dashes, which are lower
    than the digits of their row, slashes, which are higher and straight, and upright plus signs.

    Args:
        smallest: of a digit's height, in pixels.

    Returns:
        The rows top down, each from left to right: the positions of a digit's marks and the box
        around them, int `[4]`. The slope of all rows, in pixels for each pixel.

    Raises:
        DigitNotFound: nothing is large enough.
    """
    groups = _joined(marks.boxes)
    boxes = np.array([_around(marks.boxes[members]) for members in groups])
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    large = (sizes >= 0.35 * np.percentile(sizes, 75)) & (boxes[:, 3] - boxes[:, 1] >= smallest)
    if not large.any():
        raise DigitNotFound("nothing but paper, or the digit is too small")
    chosen = np.flatnonzero(large)
    levels, slope = _rows_of(boxes[chosen])
    rows = []
    for level in levels:
        members = chosen[level]
        heights = boxes[members, 3] - boxes[members, 1]
        parts = heights / np.percentile(heights, 75)
        row = [
            (groups[index], boxes[index])
            for index, part in zip(members, parts, strict=True)
            if part > LOWEST and not _sign(_mask(marks, groups[index]), part)
        ]
        highest = members[heights.argmax()]  # among dashes alone a 1 looks like a slash
        rows.append(row or [(groups[highest], boxes[highest])])
    return rows, slope


def _mask(marks: Marks, members: np.ndarray) -> np.ndarray:
    """The pixels of these marks, in the box around them: bool `[h, w]`."""
    left, top, right, bottom = _around(marks.boxes[members])
    return np.isin(marks.labels[top:bottom, left:right], members + 1)


def _sign(mask: np.ndarray, part: float) -> bool:
    """Whether it is a slash, `part` as high as its row and straight, or a plus: empty corners."""
    if part >= HIGHEST:
        spread = np.linalg.eigvalsh(np.cov(np.argwhere(mask).T))
        if spread[0] < 0.01 * spread[1]:
            return True
    height, width = mask.shape
    y, x = (np.abs(np.arange(size) - (size - 1) / 2) > CORNER * size for size in mask.shape)
    return 0.6 < width / height < 1.7 and mask[np.ix_(y, x)].sum() < 0.02 * mask.sum()


def _joined(boxes: np.ndarray) -> list[np.ndarray]:
    """Which marks make a digit together, such as the two strokes of a 5: the positions of each."""
    groups = [np.array([index]) for index in range(len(boxes))]
    while True:
        around = np.array([_around(boxes[members]) for members in groups])
        count, group_of = connected_components(_belong(around), directed=False)
        if count == len(groups):
            return groups
        groups = [
            np.concatenate([groups[index] for index in np.flatnonzero(group_of == number)])
            for number in range(count)
        ]


def _belong(boxes: np.ndarray) -> np.ndarray:
    """Whether two boxes lie one above the other and near, or nearly touch: bool `[N, N]`.

    Two that are both as high as most are two digits, unless they lie at the same place.
    """
    one, other = boxes[:, None], boxes[None]
    gap = np.maximum(one[..., :2], other[..., :2]) - np.minimum(one[..., 2:], other[..., 2:])
    extent = boxes[:, 2:] - boxes[:, :2]
    narrower = np.minimum(extent[:, None, 0], extent[None, :, 0])
    higher = np.maximum(extent[:, None, 1], extent[None, :, 1])
    typical = np.percentile(extent.max(axis=1), 75)
    together = np.maximum(one[..., 3], other[..., 3]) - np.minimum(one[..., 1], other[..., 1])
    above = (gap[..., 0] < -0.3 * narrower) & (gap[..., 1] < 0.35 * higher)
    near = (gap < 0.08 * higher[..., None]).all(axis=-1)
    whole = extent[:, 1] > 0.7 * typical
    apart = (together > 1.3 * typical) | (gap[..., 0] > -0.5 * narrower)
    return (above | near) & ~(whole[:, None] & whole[None] & apart)


def _rows_of(boxes: np.ndarray) -> tuple[list[np.ndarray], float]:
    """The rows of a page: positions from left to right, the rows top down; and their slope.

    A row is what lies on one level, once the slope that all of them share is taken out.

    The slope is how far they fall to the right, in pixels for each pixel; 0 if that is little
    beside how unevenly they are written.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    height = float(np.percentile(boxes[:, 3] - boxes[:, 1], 75))
    slopes = [0.0, _slope_to_the_right(centres, height)]
    rows = min((_levels(centres, slope, height) for slope in slopes), key=lambda one: one[1])[0]
    within = np.concatenate([centres[row] - centres[row].mean(axis=0) for row in rows])
    free, spread = len(boxes) - len(rows) - 1, (within[:, 0] ** 2).sum()
    slope = 0.0
    if free > 0 and spread > 0:
        fitted = float(within.prod(axis=1).sum() / spread)
        error = ((within[:, 1] - fitted * within[:, 0]) ** 2).sum() / free / spread
        if abs(fitted) > LUCK[min(free, len(LUCK)) - 1] * error**0.5:
            slope, rows = fitted, _levels(centres, fitted, height)[0]
    return [row[np.argsort(boxes[row, 0], kind="stable")] for row in rows], slope


def _slope_to_the_right(centres: np.ndarray, height: float) -> float:
    """The median slope from each centre to the nearest on its right, less than 35 degrees off."""
    steps = centres[None] - centres[:, None]  # from each to each
    right = (steps[..., 0] > 0.2 * height) & (abs(steps[..., 1]) < 0.7 * steps[..., 0])
    far = np.where(right, np.hypot(steps[..., 0], steps[..., 1]), np.inf)
    nearest = far.argmin(axis=1)
    to_next = steps[np.arange(len(centres)), nearest][far.min(axis=1) < 4 * height]
    return float(np.median(to_next[:, 1] / to_next[:, 0])) if len(to_next) else 0.0


def _levels(centres: np.ndarray, slope: float, height: float) -> tuple[list[np.ndarray], float]:
    """The positions on each level, top down, for rows that fall by `slope`; what speaks against it.

    That is how far they lie from their levels, and how many levels there are.
    """
    level = centres[:, 1] - slope * centres[:, 0]
    order = np.argsort(level, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(level[order]) > 0.85 * height) + 1)
    away = sum(float(level[row].var()) * len(row) for row in rows)
    return rows, away / height**2 + 0.5 * len(rows)


def _around(boxes: np.ndarray) -> np.ndarray:
    """The box, int `[4]`, around boxes `[N, 4]`."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
