"""From a photo, a scan or a drawing to digits as MNIST was made (09_handwriting.ipynb).

MNIST: the box of the digit's ink scaled into 20x20, its aspect kept, and moved so that the centre
of mass is the centre of 28x28 (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten
digits", 1998; C. Yadav, L. Bottou, "Cold case: the lost MNIST digits", NeurIPS 2019).
"""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from mnist_helpers.handwriting.image_files import file_name, read_picture
from mnist_helpers.handwriting.ink import Ink, find_ink, shrunk
from mnist_helpers.handwriting.marks import DigitNotFound, Marks, find_marks
from mnist_helpers.handwriting.rows import arrange
from PIL import Image
from scipy.ndimage import center_of_mass, maximum_filter, minimum_filter, rotate
from torch import Tensor

SIDE, INNER = 28, 20
EDGE = (SIDE - INNER) // 2
SMALLEST_DIGIT, SMALLEST_CUT_OUT = 7, 5  # pixels; on a page what is smaller may be dust
STRAIGHT = 0.05  # rows that fall less, in pixels for each pixel, are level
THINNEST = 1.7  # of the 20 pixels: a finer stroke is thickened, since MNIST's pens were thick


@dataclass(frozen=True, eq=False)
class FoundDigit:
    """A digit that was found in an image.

    Attributes:
        image: uint8 `[1, 28, 28]`, as in MNIST: ink bright on black.
        box: left, top, right, bottom in pixels of the upright image; the last two are the first
            beyond the ink.
        row: its row on the page, from 0 at the top.
        steps: what came in between, by name and in order, arrays `[H, W]`: `grey`, `paper`,
            `ink` and `marks` of the whole image, `cut out` and `28 x 28` of this digit.
    """

    image: Tensor
    box: tuple[int, int, int, int]
    row: int
    steps: dict[str, np.ndarray]


def digit_from_image(image: Any) -> FoundDigit:
    """The digit in an image; the one with the largest box, if there are several.

    Args:
        image: a path, a Pillow image, or an array or tensor: uint8, or float in [0, 1]; `[H, W]`,
            `[H, W, 3]` or `[H, W, 4]`. Ink dark on bright or bright on dark; any size.

    Raises:
        DigitNotFound: nothing but paper, nothing but ink, or too small.
        DataError: it is no readable image.
    """
    found = digits_from_image(image)
    boxes = np.array([digit.box for digit in found])
    return found[(boxes[:, 2:] - boxes[:, :2]).prod(axis=1).argmax()]


def digits_from_image(image: Any) -> list[FoundDigit]:
    """All digits in an image, at least one, row by row; else as `digit_from_image`."""
    picture = read_picture(image)
    name = file_name(image) if isinstance(image, str | PathLike) else "the image"
    width, height = picture.size
    try:
        if min(width, height, *picture.pixels.shape[:2]) < SMALLEST_DIGIT:
            raise DigitNotFound(f"a digit does not fit into {width}x{height} pixels")
        ink = find_ink(picture.pixels)
        marks = find_marks(ink)
        pixel = picture.scale / ink.enlarged  # of the image as given, for one of these
        smallest = SMALLEST_DIGIT if ink.enlarged == 1 else SMALLEST_CUT_OUT
        longest = marks.sizes.max() * pixel
        if longest < smallest:
            raise DigitNotFound(f"the ink is only {longest:.0f} pixels long")
        rows, slope = arrange(marks, smallest / pixel)
    except DigitNotFound as error:
        raise DigitNotFound(f"no digit in {name}: {error}") from None
    steps = {"grey": ink.grey, "paper": ink.paper, "ink": ink.ink, "marks": marks.labels > 0}
    found = []
    scales = np.array([width, height] * 2) / np.array(ink.grey.shape[::-1] * 2)
    for number, row in enumerate(rows):
        for members, box in row:
            given_box = tuple((box * scales).round().astype(int).tolist())
            cut = _cut_out(ink, marks, members, box, slope)
            small = as_mnist(cut)
            own_steps = {**steps, "cut out": cut, "28 x 28": small}
            found.append(FoundDigit(torch.from_numpy(small)[None], given_box, number, own_steps))
    return found


def _cut_out(
    ink: Ink, marks: Marks, members: np.ndarray, box: np.ndarray, slope: float
) -> np.ndarray:
    """The ink of one digit, in its box, without what surrounds it: float32 `[h, w]`, 0 to 1.

    It is turned upright where its row falls or rises.
    """
    left, top, right, bottom = box
    own = np.isin(marks.labels[top:bottom, left:right], members + 1)
    values = ink.ink[top:bottom, left:right]
    size = max(own.shape)
    soft = 2 * (1 + round(0.02 * size)) + 1  # a stroke's soft edge is its own, too
    near = maximum_filter(own, soft)
    cut = np.where(near, values / np.percentile(values[own], 75), 0).clip(0, 1)
    if abs(slope) > STRAIGHT:
        angle = np.degrees(np.arctan(slope))
        cut = close_around(rotate(np.pad(cut, 2), angle, order=1))
    return cut.astype(np.float32)


def _thickened(cut: np.ndarray) -> np.ndarray:
    """The ink, whose strokes leave a trace on 20x20 pixels: thin ones grow."""
    own, size = cut > 0.4 * cut.max(), max(cut.shape)
    outline = own & ~minimum_filter(own, 3, mode="constant")
    missing = THINNEST / INNER * size - 2 * own.sum() / outline.sum()  # of the mean thickness
    block = max(1, size // (140 if missing > 1 else 1_000))  # growing is slow on many pixels
    cut = shrunk(cut, block)
    grow = round(missing / 2 / block)
    if grow < 1:
        return cut
    y, x = np.mgrid[-grow : grow + 1, -grow : grow + 1]
    disk = x**2 + y**2 <= grow * (grow + 0.5)
    return maximum_filter(np.pad(cut, grow), footprint=disk)


def close_around(ink: np.ndarray) -> np.ndarray:
    """Ink without empty rows and columns around it."""
    y, x = (np.flatnonzero(ink.max(axis=axis) > 0.3 * ink.max()) for axis in (1, 0))
    return ink[y[0] : y[-1] + 1, x[0] : x[-1] + 1]


def as_mnist(cut: np.ndarray) -> np.ndarray:
    """uint8 `[28, 28]`: the longer side 20 pixels long, the centre of mass in the centre."""
    cut = _thickened(cut)
    side = round(max(cut.shape) * SIDE / INNER)
    square = np.zeros((side, side), dtype=np.float32)
    top, left = (side - np.array(cut.shape)) // 2
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    small = np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.HAMMING))
    away = np.round(SIDE / 2 - np.array(center_of_mass(small))).astype(int)
    away = away.clip(-EDGE, EDGE)  # no further than the empty edge, so that no ink is lost
    moved = np.roll(small, away, axis=(0, 1)).clip(0)
    return (moved / moved.max() * 255).round().astype(np.uint8)
