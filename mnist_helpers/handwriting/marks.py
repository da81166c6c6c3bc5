"""Which pieces of ink are digits: marks are found, chosen and joined (09_handwriting.ipynb)."""

import math
from typing import NamedTuple

import numpy as np
from mnist_helpers.handwriting.ink import Ink, peak, shrunk
from mnist_helpers.mnist_files import DataError
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

FAINTEST = 0.06  # ink differs from the paper by this part of white, at least
STRENGTH = 0.6  # of the strongest mark: a page is written with one pen
CONNECTED = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner are one mark


class DigitNotFound(DataError):
    """There is no digit in the image; the message says why."""


class Marks(NamedTuple):
    """Connected pieces of ink.

    Attributes:
        labels: int `[H, W]`: 0 for paper, 1 to N for the pixels of a mark.
        boxes: int `[N, 4]`: left, top, right, bottom; the last two are the first beyond.
        areas: int `[N]`: how many pixels each mark has.
    """

    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """The longer side of each box, in pixels, `[N]`."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1, initial=0)

    @property
    def edges(self) -> np.ndarray:
        """How many of the picture's four edges each mark reaches, int `[N]`."""
        height, width = self.labels.shape
        return ((self.boxes[:, :2] == 0) | (self.boxes[:, 2:] == [width, height])).sum(axis=1)

    @property
    def filled(self) -> np.ndarray:
        """Which part of its box each mark fills, 0 to 1: little, for lines and frames, `[N]`."""
        return self.areas / (self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1)

    @property
    def slender(self) -> np.ndarray:
        """Which are lines rather than digits: upright, or lying, bool `[N]`."""
        width, height = (self.boxes[:, 2:] - self.boxes[:, :2]).T
        return (height > 20 * width) | (width > 5 * height)

    @property
    def across(self) -> np.ndarray:
        """Which are lines from one edge of the picture to the other, bool `[N]`."""
        reach = self.boxes[:, 2:] - self.boxes[:, :2] >= self.labels.shape[::-1]
        return self.slender & reach.any(axis=1)

    def only(self, chosen: np.ndarray) -> "Marks":
        """The chosen ones, bool `[N]`, numbered anew."""
        numbers = np.concatenate([[0], np.cumsum(chosen) * chosen])
        return Marks(numbers[self.labels], self.boxes[chosen], self.areas[chosen])


def find_marks(ink: Ink) -> Marks:
    """The pieces of ink that may be a digit's.

    What reaches the edge of the picture, such as a table, is left out if something else is there.

    Raises:
        DigitNotFound: nothing but paper, or nothing but ink.
    """
    top, least = peak(shrunk(ink.ink, 2)), max(4 * ink.noise, FAINTEST)
    if top < max(FAINTEST, 5 * ink.noise):
        raise DigitNotFound("nothing but paper, or the digit is too small")
    strong = ink.ink > max(0.4 * top, least)
    weak = ink.ink > max(0.2 * top, least)
    if ink.enlarged == 1:  # a smaller picture is a cut-out: its digit may reach the edge
        ruled = _ruled(_labelled(weak))
        # Weak ink only if there is no strong: beside a table the pen is pale.
        for mask in (strong, weak):
            marks = _labelled(_without_thin_lines(mask) if ruled else mask)
            inner = _inner(ink, marks)
            if inner.any():
                return _no_block(marks.only(inner))
    if weak.mean() > 0.6:
        raise DigitNotFound("nothing but ink")
    marks = _labelled(strong)
    if ink.enlarged == 1:
        # A digit may reach one edge; what reaches more, such as a shadow, must be large.
        least_size = np.where(marks.edges > 1, 0.3, 0.1) * max(strong.shape)
        marks = marks.only((marks.sizes > least_size) & (marks.filled > 0.1) & ~marks.across)
    if not len(marks.boxes):
        raise DigitNotFound("nothing but paper, or the digit is too small")
    return _no_block(marks.only(marks.sizes > 0.08 * marks.sizes.max()))


def _no_block(marks: Marks) -> Marks:
    """The marks; a picture that is mostly one mark has no digit."""
    if (marks.areas > 0.5 * marks.labels.size).any():
        raise DigitNotFound("nothing but ink")
    return marks


def _labelled(mask: np.ndarray) -> Marks:
    """The connected pieces of a mask, bool `[H, W]`."""
    labels, _ = ndimage.label(mask, CONNECTED)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    areas = np.bincount(labels[mask], minlength=len(boxes) + 1)[1:]
    return Marks(labels, np.array(boxes, dtype=int).reshape(-1, 4), areas)


def _inner(ink: Ink, marks: Marks) -> np.ndarray:
    """Which marks are away from the edge, large, strong, and no frame; bool `[N]`."""
    sizes, areas, side = marks.sizes, marks.areas, math.sqrt(marks.labels.size)
    inner = (marks.edges == 0) & (sizes >= 0.035 * side) & (areas >= 0.005 * areas.sum())
    if (inner & ~marks.slender).any():
        inner &= ~marks.slender
    if inner.any():
        inked = marks.labels > 0
        strength = np.bincount(marks.labels[inked], ink.ink[inked])[1:] / areas
        inner &= strength > max(STRENGTH * strength[inner].max(), 5 * ink.noise)
    frames = inner & (marks.filled < 0.15) & (sizes > 0.5 * max(marks.labels.shape))
    return inner & ~frames if (inner & ~frames).any() else inner


def _ruled(marks: Marks) -> bool:
    """Whether the paper has lines or squares: a mark across the picture that hardly fills it."""
    across = (marks.boxes[:, 2:] - marks.boxes[:, :2]) > 0.6 * np.array(marks.labels.shape[::-1])
    return bool((across.any(axis=1) & (marks.filled < 0.3) & (marks.edges > 0)).any())


def _without_thin_lines(mask: np.ndarray) -> np.ndarray:
    """Only what is at least 0.4 times as thick as the thickest stroke."""
    size = max(1, round(0.8 * ndimage.distance_transform_cdt(mask).max()))
    back = -1 if size % 2 == 0 else 0  # an even window has no middle
    thick = ndimage.minimum_filter(mask, size)
    return mask & ndimage.maximum_filter(thick, size, origin=back)


def join_marks(boxes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which marks make a digit together, such as the two strokes of a 5.

    Args:
        boxes: int `[N, 4]`: left, top, right, bottom.

    Returns:
        The positions of the marks of each digit, and the box around them; the digits from left
        to right. What is far smaller than the largest, such as a comma, is left out.
    """
    groups = [np.array([index]) for index in range(len(boxes))]
    while True:
        around = np.array([_around(boxes[members]) for members in groups])
        count, group_of = connected_components(_belong(around), directed=False)
        if count == len(groups):
            break
        groups = [
            np.concatenate([groups[index] for index in np.flatnonzero(group_of == number)])
            for number in range(count)
        ]
    sizes = (around[:, 2:] - around[:, :2]).max(axis=1)
    large = np.flatnonzero(sizes >= 0.35 * sizes.max())
    from_left = large[np.argsort(around[large, 0], kind="stable")]
    return [(groups[index], around[index]) for index in from_left]


def _belong(boxes: np.ndarray) -> np.ndarray:
    """Whether two boxes lie one above the other and near, or nearly touch: bool `[N, N]`."""
    one, other = boxes[:, None], boxes[None]
    gap = np.maximum(one[..., :2], other[..., :2]) - np.minimum(one[..., 2:], other[..., 2:])
    extent = boxes[:, 2:] - boxes[:, :2]
    narrower = np.minimum(extent[:, None, 0], extent[None, :, 0])
    higher = np.maximum(extent[:, None, 1], extent[None, :, 1])
    above = (gap[..., 0] < -0.3 * narrower) & (gap[..., 1] < 0.35 * higher)
    return above | (gap < 0.08 * higher[..., None]).all(axis=-1)


def _around(boxes: np.ndarray) -> np.ndarray:
    """The box, int `[4]`, around boxes `[N, 4]`."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
