"""Which pieces of ink may be digits: marks are found and chosen (09_handwriting.ipynb)."""

from typing import NamedTuple

import numpy as np
from mnist_helpers.handwriting.ink import Ink, enlarge, peak, shrunk
from mnist_helpers.mnist_files import DataError
from scipy import ndimage

FAINTEST = 0.06  # ink differs from the paper by this part of white, at least
PART, WEAK = 0.4, 0.2  # of the strongest ink nearby, and of all: less is no ink
BAR, ABOVE, TOUCHING = 0.9, 0.35, 0.08  # of a digit's size: a bar's length, and how near it is
MOST = 1_000  # marks on a page
PHOTO, SPECK = 480, 0.08  # in a smaller picture the digit may reach the edge: then no speck counts
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
    def extents(self) -> np.ndarray:
        """Width and height of each box, in pixels, `[N, 2]`."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @property
    def sizes(self) -> np.ndarray:
        """The longer side of each box, in pixels, `[N]`."""
        return self.extents.max(axis=1, initial=0)

    @property
    def edges(self) -> np.ndarray:
        """How many of the picture's four edges each mark reaches, int `[N]`."""
        height, width = self.labels.shape
        return ((self.boxes[:, :2] == 0) | (self.boxes[:, 2:] == [width, height])).sum(axis=1)

    @property
    def filled(self) -> np.ndarray:
        """Which part of its box each mark fills, 0 to 1: little, for lines and frames, `[N]`."""
        return self.areas / self.extents.prod(axis=1)

    def only(self, chosen: np.ndarray) -> "Marks":
        """The chosen ones, bool `[N]`, numbered anew."""
        numbers = np.concatenate([[0], np.cumsum(chosen) * chosen])
        return Marks(numbers[self.labels], self.boxes[chosen], self.areas[chosen])


def find_marks(ink: Ink) -> Marks:
    """The pieces of ink that may be a digit's.

    What reaches the edge of the picture, such as a hand, is left out if something else is there.

    Raises:
        DigitNotFound: nothing but paper, or nothing but ink.
    """
    top, least = peak(shrunk(ink.ink, 2)), max(4 * ink.noise, FAINTEST)
    if top < max(FAINTEST, 5 * ink.noise):
        raise DigitNotFound("nothing but paper, or the digit is too small")
    weak, strong = (ink.ink > max(part * top, least) for part in (WEAK, PART))
    if ink.enlarged > 1:  # a small picture is a cut-out: its digit may reach the edge
        if weak.mean() > 0.6:
            raise DigitNotFound("nothing but ink")
        marks = _labelled(strong)
        return _no_block(marks.only(marks.sizes > 0.08 * marks.sizes.max(initial=0)))
    if _ruled(weak):
        pieces = _labelled(strong).sizes
        pale = not _ruled(strong) and (pieces > 0.02 * min(strong.shape)).sum() < 15
        masks = [strong if pale else _without_thin_lines(strong), _without_thin_lines(weak)]
    else:
        masks = [weak & (ink.ink > PART * _peak_around(ink.ink))]
    for mask in masks:
        marks = _labelled(mask)
        inner = _inner(ink, marks)
        largest = marks.sizes.max(initial=0, where=inner)
        rival = marks.sizes.max(initial=0, where=~_edge_line(marks))
        if largest > (SPECK * rival if min(mask.shape) < PHOTO else 0):
            return _no_block(marks.only(inner))
    marks = _labelled(strong)
    # A digit may reach one edge; what reaches more, such as a shadow, must be large.
    large = marks.sizes > np.where(marks.edges > 1, 0.3, 0.1) * max(strong.shape)
    return _no_block(marks.only(large & ~_edge_line(marks)))


def _edge_line(marks: Marks) -> np.ndarray:
    """Which are the edge of a scan, a frame or a line across, rather than a digit; bool `[N]`."""
    across = (marks.extents >= marks.labels.shape[::-1]).any(axis=1) & _slender(marks)
    return (marks.filled <= 0.1) | across


def _no_block(marks: Marks) -> Marks:
    """The marks; a picture without any, or that is mostly one, has no digit."""
    if not len(marks.boxes):
        raise DigitNotFound("nothing but paper, or the digit is too small")
    if (marks.areas > 0.5 * marks.labels.size).any():
        raise DigitNotFound("nothing but ink")
    return marks


def _labelled(mask: np.ndarray) -> Marks:
    """The connected pieces of a mask, bool `[H, W]`."""
    labels, _ = ndimage.label(mask, CONNECTED)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    areas = np.bincount(labels[mask], minlength=len(boxes) + 1)[1:]
    return Marks(labels, np.array(boxes, dtype=int).reshape(-1, 4), areas)


def _peak_around(ink: np.ndarray) -> np.ndarray:
    """How strong the ink is around each place: a fine pen counts beside a bold one, too."""
    block = max(1, min(ink.shape) // 160)
    coarse = shrunk(ink, block)
    size = max(3, min(coarse.shape) // 5)
    strongest = ndimage.maximum_filter(coarse, size)
    return enlarge(ndimage.uniform_filter(strongest, size), ink.shape)


def _slender(marks: Marks) -> np.ndarray:
    """Which are lines rather than digits: lying, or upright and long; bool `[N]`."""
    width, height = marks.extents.T
    long = height > 0.4 * marks.labels.shape[0]
    return (width > 5 * height) | ((height > 20 * width) & long)


def _bars(marks: Marks, others: np.ndarray) -> np.ndarray:
    """Which are short, and a part of one of `others`, such as the bar of a 5; bool `[N]`.

    They nearly touch one, as where a fine pen skips; or they are near above one and under none.
    """
    size = np.percentile(marks.sizes[others], 75)
    one, other = marks.boxes[:, None], marks.boxes[None, others]
    gap = np.maximum(one[..., :2], other[..., :2]) - np.minimum(one[..., 2:], other[..., 2:])
    beside = (gap[..., 0] < -0.3 * marks.extents[:, None, 0]) & (gap[..., 1] < ABOVE * size)
    over = beside & (one[..., 1] < other[..., 1])
    under = beside & (one[..., 3] > other[..., 3])
    near = (gap < TOUCHING * size).all(axis=-1)
    part = near.any(axis=1) | (over.any(axis=1) & ~under.any(axis=1))
    return (marks.sizes < BAR * size) & part


def _inner(ink: Ink, marks: Marks) -> np.ndarray:
    """Which marks are away from the edge, large, strong, no line and no frame; bool `[N]`."""
    side = min(marks.labels.shape)
    inner = (marks.edges == 0) & (marks.sizes >= 0.02 * side)
    lines = _slender(marks)
    if (inner & ~lines).any():
        inner &= ~lines | _bars(marks, inner & ~lines)
    if not inner.any():
        return inner
    inked = marks.labels > 0
    total = np.bincount(marks.labels[inked], ink.ink[inked])[1:]
    strength, weight = total / marks.areas, total / marks.sizes
    inner &= (strength > 5 * ink.noise) & (strength > 0.3 * strength[inner].max())
    inner &= weight > 0.05 * weight[inner].max(initial=0)
    if inner.any():
        heavy = {"weights": total[inner], "method": "inverted_cdf"}  # half of the weight is larger
        inner &= marks.sizes >= 0.2 * np.quantile(marks.sizes[inner], 0.5, **heavy)
    if inner.sum() > MOST:
        raise DigitNotFound(f"more than {MOST:,} marks")
    frames = inner & _frames(marks, inner)
    return inner & ~frames if (inner & ~frames).any() else inner


def _frames(marks: Marks, inner: np.ndarray) -> np.ndarray:
    """Which are mostly empty, and hold others that are not small beside them; bool `[N]`."""
    chosen = np.flatnonzero(inner)
    boxes, height = marks.boxes[chosen], marks.extents[chosen, 1]
    low, high = boxes[:, None, :2] <= boxes[None, :, :2], boxes[:, None, 2:] >= boxes[None, :, 2:]
    inside = (low & high).all(axis=-1)  # each holds itself, too
    holds = inside & (height[None] > 0.3 * height[:, None])
    frames = (marks.filled < 0.15) & (marks.sizes > 0.5 * max(marks.labels.shape))
    frames[chosen] &= inside.sum(axis=1) > 1
    frames[chosen] |= (marks.filled[chosen] < 0.35) & (holds.sum(axis=1) > 1)
    return frames


def _ruled(mask: np.ndarray) -> bool:
    """Whether the paper has lines or squares: a mark across the picture that hardly fills it."""
    coarse = shrunk(mask.astype(np.float32), 3) > 0  # pale lines have gaps
    marks = _labelled(coarse)
    across = marks.extents > 0.6 * np.array(coarse.shape[::-1])
    # Or a page of squares on a table; a large digit has no more than two of them.
    squares = across.all(axis=1) & (ndimage.label(~coarse)[1] > 10)
    lines = across.any(axis=1) & (marks.edges > 0)
    return bool(((squares | lines) & (marks.filled < 0.35)).any())


def _without_thin_lines(mask: np.ndarray) -> np.ndarray:
    """Only what is at least 0.4 times as thick as the thickest stroke."""
    size = max(1, round(0.8 * ndimage.distance_transform_cdt(mask).max()))
    return mask & ndimage.grey_opening(mask, size)
