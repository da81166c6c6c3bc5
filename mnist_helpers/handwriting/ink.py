"""Where the ink is: a picture of paper becomes a map of ink (09_handwriting.ipynb).

The paper's brightness is estimated at every place and taken away: so a shadow counts as paper, and
a pen on bright paper and chalk on a dark board look the same.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import (
    binary_erosion,
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    grey_closing,
    grey_opening,
    label,
    maximum_filter,
    uniform_filter,
)  # fmt: skip
from skimage.filters import threshold_otsu
from skimage.morphology import convex_hull_image

SMALLEST = 112  # a smaller picture is enlarged first, since all below counts in pixels
COARSE = 96  # paper is estimated on a copy whose shorter side has about so many pixels
FRAME = 2  # coarse pixels at the edge that count for nothing: there may be a frame
BLACK = 0.04  # darker than any table
WINDOW = 0.5  # strokes are thinner than this part of the shorter side
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green, blue: ITU-R BT.601


class Ink(NamedTuple):
    """The ink in a picture; arrays are float32 `[H, W]`.

    Attributes:
        grey: 0 to 1, the picture without colour.
        paper: 0 to 1, how bright it would be without ink.
        ink: how far a pixel is from the paper towards the ink: around 0 on paper.
        noise: the standard deviation of `ink` on the paper.
        enlarged: how many times the arrays are as large as the picture.
    """

    grey: np.ndarray
    paper: np.ndarray
    ink: np.ndarray
    noise: float
    enlarged: int


def find_ink(pixels: np.ndarray) -> Ink:
    """The ink in a picture of dark ink on bright paper, or of bright ink on dark.

    Args:
        pixels: float32 `[H, W]` or `[H, W, 3]`, 0 to 1.
    """
    grey, enlarged = _enlarged(_without_colour(pixels))
    block = max(1, min(grey.shape) // COARSE)
    if enlarged == 1:
        grey = _page_alone(grey, block)
    coarse = shrunk(grey, block)
    if enlarged > 1:
        sign, paper = _even_paper(coarse)
    else:
        sign, paper = _ink_is_brighter(coarse)
        for _ in range(2):  # better paper shows better where the ink is, and the other way round
            ink = sign * (coarse - paper)
            paper = _corrected(paper, coarse, ink > max(0.3 * peak(ink), 3 * _spread(ink)))
    paper = enlarge(paper, grey.shape)
    ink = _in_even_light(sign * (grey - paper), sign, paper)
    noise = _spread(ink)
    if noise > 0.08 * peak(shrunk(ink, block)):
        ink = gaussian_filter(ink, 1, truncate=2)
        noise = _spread(ink)
    return Ink(grey, paper, ink, noise, enlarged)


def peak(ink: np.ndarray) -> float:
    """How strong the strongest ink is, apart from a few pixels in ten thousand."""
    return float(np.percentile(ink, 99.97))


def _without_colour(pixels: np.ndarray) -> np.ndarray:
    """Luminance; or the one of red, green and blue in which the ink stands out far better."""
    if pixels.ndim == 2:
        return pixels
    channels = [pixels @ LUMINANCE, *np.moveaxis(pixels, -1, 0)]
    contrasts = []
    for channel in channels:
        coarse = shrunk(channel, max(1, min(channel.shape) // COARSE))
        away = [np.abs(coarse - _without_strokes(coarse, sign)) for sign in (1, -1)]
        contrasts.append(min(peak(part) / (0.02 + _spread(part)) for part in away))
    best = int(np.argmax(contrasts))
    return np.ascontiguousarray(channels[best if contrasts[best] > 1.3 * contrasts[0] else 0])


def _enlarged(grey: np.ndarray) -> tuple[np.ndarray, int]:
    """The picture, at least SMALLEST pixels long, and how many times it was enlarged."""
    height, width = grey.shape
    factor = -(-SMALLEST // max(height, width))
    if factor == 1:
        return grey, 1
    size = width * factor, height * factor
    large = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(large).clip(0, 1), factor


def shrunk(values: np.ndarray, block: int) -> np.ndarray:
    """The means of blocks of `block` by `block` pixels."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(values)).reduce(block))


def enlarge(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """As large as `shape`, `[H, W]`: values in between."""
    height, width = shape
    return np.array(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def _page_alone(grey: np.ndarray, block: int) -> np.ndarray:
    """The picture; where a darker table surrounds a page, with the page's edge in its place.

    A page is bright, large, mostly paper, and has no dents. A table isn't black, so a bold digit
    on black is no page; nor is it mostly bright, so the inside of a large 0 is none.
    """
    coarse = shrunk(grey, block)
    bright = coarse > threshold_otsu(coarse)
    labels, _ = label(bright)
    sizes = np.bincount(labels.ravel())[1:]
    if not sizes.size:
        return grey
    largest = labels == 1 + sizes.argmax()
    page = binary_fill_holes(largest)
    edge = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]])
    if not 0.25 < page.mean() < 0.95 or edge.mean() > 0.3 or coarse[~page].mean() < BLACK:
        return grey
    if bright[~page].mean() > 0.3:
        return grey
    if largest.sum() < 0.8 * page.sum() or page.sum() < 0.95 * convex_hull_image(page).sum():
        return grey
    inner = binary_erosion(page, iterations=2)
    nearest = distance_transform_edt(~inner, return_distances=False, return_indices=True)
    table = enlarge(1 - inner.astype(np.float32), grey.shape) > 0.5
    filled = enlarge(coarse[tuple(nearest)], grey.shape)
    return np.where(table, filled, grey)


def _without_strokes(coarse: np.ndarray, sign: int) -> np.ndarray:
    """Grey opening (`sign` 1: bright strokes vanish) or closing (-1: dark ones do).

    What is wider than the window stays, with its edges where they are: so does a shadow.
    """
    without = grey_opening if sign > 0 else grey_closing
    size = 2 * int(WINDOW * min(coarse.shape) / 2) + 1
    margin = size // 2
    middle = uniform_filter(coarse, 3, mode="nearest")[FRAME:-FRAME, FRAME:-FRAME]
    paper = np.pad(middle, margin + FRAME, mode="edge")
    return without(paper, size, mode="nearest")[margin:-margin, margin:-margin]


def _ink_is_brighter(coarse: np.ndarray) -> tuple[int, np.ndarray]:
    """1 for bright ink on dark paper, -1 for dark ink on bright paper; and the paper.

    Taking the strokes away leaves smooth paper, if they are really the strokes: so the guess that
    leaves smoother paper and takes away stronger marks is right. In doubt, ink is dark.
    """
    bright, dark = _without_strokes(coarse, 1), _without_strokes(coarse, -1)
    for_bright, for_dark = coarse - bright, dark - coarse
    covered = [float((ink > 0.4 * peak(ink)).mean()) for ink in (for_bright, for_dark)]
    if max(covered) > 0.45 and min(covered) < 0.05:  # a whole page is no ink
        return (1, bright) if covered[0] < covered[1] else (-1, dark)
    smoother = _roughness(dark) / _roughness(bright)
    stronger = _inner_peak(for_bright) / max(_inner_peak(for_dark), 1e-6)
    return (1, bright) if smoother**2 * stronger > 3 else (-1, dark)


def _even_paper(coarse: np.ndarray) -> tuple[int, np.ndarray]:
    """The same for a small picture: a cut-out of even brightness, with paper around the digit."""
    edge = np.concatenate([coarse[0], coarse[-1], coarse[:, 0], coarse[:, -1]])
    paper = np.median(edge).astype(np.float32)
    sign = 1 if paper < (coarse.min() + coarse.max()) / 2 else -1
    return sign, np.full_like(coarse, paper)


def _in_even_light(ink: np.ndarray, sign: int, paper: np.ndarray) -> np.ndarray:
    """The ink as if no shadow fell on it: half the light makes half the difference.

    How dark paper is tells less of the light: hence the root.
    """
    if sign < 0:
        return ink / np.maximum(paper, 0.15)
    middle = float(np.median(paper[::8, ::8]))
    if middle < 0.03:
        return ink
    return ink * np.sqrt(middle / paper.clip(0.3 * middle, 3 * middle))


def _roughness(paper: np.ndarray) -> float:
    """Standard deviation around the plane that fits best; a little more, never 0."""
    y, x = np.mgrid[0 : paper.shape[0] : 4, 0 : paper.shape[1] : 4]
    values = paper[::4, ::4].ravel()
    plane = np.stack([np.ones(values.size), x.ravel(), y.ravel()], axis=1)
    fitted = plane @ np.linalg.lstsq(plane, values, rcond=None)[0]
    return float((values - fitted).std()) + 0.01


def _inner_peak(ink: np.ndarray) -> float:
    """The peak without what reaches the edge of the picture, such as a table around the page."""
    whole = peak(ink)
    labels, _ = label(ink > 0.4 * whole)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return max(peak(np.where(np.isin(labels, edge[edge > 0]), 0, ink)), 0.3 * whole)


def _corrected(paper: np.ndarray, coarse: np.ndarray, inked: np.ndarray) -> np.ndarray:
    """The paper, corrected by the mean difference of the pixels around that have no ink."""
    weight = 1 - maximum_filter(inked, 3).astype(np.float32)
    total, differences = weight + 0.01, weight * (coarse - paper)
    size = max(3, min(coarse.shape) // 12)
    for _ in range(2):
        total, differences = uniform_filter(total, size), uniform_filter(differences, size)
    return paper + differences / total


def _spread(ink: np.ndarray) -> float:
    """The standard deviation on paper: from the lower half, which has no ink."""
    low, high = np.percentile(ink[::3, ::3], [5, 30])
    return float(high - low) / 1.12  # so far apart are these percentiles of a normal distribution
