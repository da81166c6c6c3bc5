"""MNIST-C style: the digits corrupted in fifteen ways, to measure how robust a model is.

The corruptions and strengths are those of N. Mu and J. Gilmer, "MNIST-C: a robustness benchmark
for computer vision", 2019, arXiv:1906.02337, written anew. Other draws fall here, so a set made
here is not the published one, which `load_mnist_c` reads.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from mnist_helpers.augmentation import warp
from mnist_helpers.mnist_files import DataError
from numpy.random import Generator
from scipy.ndimage import gaussian_filter
from skimage.feature import canny
from torch import Tensor
from torch.nn import functional as F

# By MNIST-C's names; filled by the decorator below.
CORRUPTIONS: dict[str, Callable[..., Tensor]] = {}
# Those like what `affine` and `noise` do to training digits. (`stripe` is a bit like `erase`.)
RELATIVES = ("shear", "scale", "rotate", "translate", "shot_noise", "impulse_noise")
Pixels = np.ndarray  # float64 [n, 28, 28], 0 (paper) to 255 (ink)
PLACES = np.arange(28)
IMAGES_AT_ONCE = 1_000


def corruption(change: Callable[..., Pixels]) -> Callable[..., Tensor]:
    """Make a corruption from a function of float pixels and a generator (a decorator).

    `corrupt(images, seed=0, **strength)` takes uint8 images `[N, 1, 28, 28]` on any device and
    returns new ones there, clipped and rounded. `seed`, 0 or more, decides the bytes; the first
    images do not depend on those after them. The strengths, such as `angle`, are `change`'s.
    DataError if the images have another dtype or shape.
    """

    def corrupt(images: Tensor, seed: int = 0, **strength: float) -> Tensor:
        if images.dtype != torch.uint8 or images.shape[1:] != (1, 28, 28):
            raise DataError(
                f"images are {images.dtype} {list(images.shape)}; they must be torch.uint8 "
                "[N, 1, 28, 28]: give the images of a DigitSet, before any scaling"
            )
        generator = np.random.default_rng(seed)
        result = torch.empty(images.shape, dtype=torch.uint8)
        for start in range(0, len(images), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            values = images[part, 0].cpu().numpy().astype(np.float64)
            result[part, 0] = torch.from_numpy(_bytes(change(values, generator, **strength)))
        return result.to(images.device)

    corrupt.__name__ = corrupt.__qualname__ = change.__name__
    corrupt.__doc__ = change.__doc__
    CORRUPTIONS[change.__name__] = corrupt
    return corrupt


def _bytes(values: Pixels) -> np.ndarray:
    """Clipped to 0 to 255 and rounded to uint8."""
    # A little more than half: a tie goes up, even where another machine's last bit is lower.
    return np.floor(values.clip(0, 255) + 0.500001).astype(np.uint8)


@corruption
def shot_noise(values: Pixels, generator: Generator, photons: float = 3) -> Pixels:
    """The noise of faint light: full ink is a Poisson count of mean `photons`, above 0."""
    return generator.poisson(values / 255 * photons) / photons * 255


@corruption
def impulse_noise(values: Pixels, generator: Generator, amount: float = 0.17) -> Pixels:
    """Salt and pepper: a share of the pixels, `amount`, 0 to 1, becomes 0 or 255, half each."""
    draws = generator.random(values.shape)
    return np.where(draws < amount, np.where(draws < amount / 2, 0, 255), values)


@corruption
def glass_blur(values: Pixels, generator: Generator, sigma: float = 0.7, rounds: int = 2) -> Pixels:
    """Frosted glass: blur, let neighbours change places at random `rounds` times, blur again.

    The blurs are Gaussian of `sigma` pixels, 0: none, up and down only. That is what MNIST-C does:
    its blur takes an image's columns for colour channels.
    """
    blur = partial(gaussian_filter, sigma=(0, sigma, 0), output=np.float64, mode="nearest")
    return blur(_shuffled(_bytes(blur(values)), generator, rounds))


def _shuffled(values: np.ndarray, generator: Generator, rounds: int) -> np.ndarray:
    """Each pixel, last to first, changes places with the one above, left, or both: 1/8 each.

    The first two rows and columns make no swaps of their own.
    """
    pixels = values.reshape(len(values), 784).T.copy()  # a row a pixel: fast to work on
    order = [28 * row + column for row in PLACES[:1:-1] for column in PLACES[:1:-1]] * rounds
    moves = np.array([0, 0, 0, 0, 0, 1, 28, 29])
    draws = generator.integers(8, size=(len(values), len(order)))
    image = np.arange(len(values))
    for here, draw in zip(order, draws.T, strict=True):
        there = here - moves[draw]
        before = pixels[here].copy()
        pixels[here] = pixels[there, image]
        pixels[there, image] = before
    return pixels.T.reshape(values.shape)


@corruption
def motion_blur(values: Pixels, generator: Generator, radius: int = 10, sigma: float = 3) -> Pixels:
    """A moving camera: the ink fades out to the left, at a random angle of -45 to 45 degrees.

    The weights are half a Gaussian of `sigma` pixels, above 0, over 2 `radius` + 1 whole pixels,
    and the border goes on outside, as in ImageMagick's MotionBlurImage, which MNIST-C calls.
    """
    angles = np.deg2rad(generator.uniform(-45, 45, (len(values), 1)))
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    image = np.arange(len(values))[:, None, None]
    blurred = np.zeros_like(values)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        moves = (np.rint(step * side(angles)).astype(int) for side in (np.sin, np.cos))
        rows, columns = ((PLACES + move).clip(0, 27) for move in moves)
        blurred += weight * values[image, rows[:, :, None], columns[:, None, :]]
    return blurred


@corruption
def shear(values: Pixels, generator: Generator, angle: float = 0.4) -> Pixels:
    """Slanted to the left or right by `angle` radians, and 1 / cos(angle) times as high."""
    angles = angle * generator.choice([-1, 1], len(values))
    return _warped(values, 1, -np.sin(angles), 0, 0, np.cos(angles), 0)


@corruption
def scale(values: Pixels, generator: Generator, factor: float = 0.7) -> Pixels:
    """`factor` times its size, above 0, about the centre. Nothing is random."""
    return _warped(values, 1 / factor, 0, 0, 0, 1 / factor, 0)


@corruption
def rotate(values: Pixels, generator: Generator, angle: float = 0.4) -> Pixels:
    """Turned about the centre by `angle` radians, clockwise or anticlockwise."""
    angles = angle * generator.choice([-1, 1], len(values))
    return _warped(values, np.cos(angles), -np.sin(angles), 0, np.sin(angles), np.cos(angles), 0)


@corruption
def brightness(values: Pixels, generator: Generator, amount: float = 0.5) -> Pixels:
    """All pixels brighter by `amount` of the full range, -1 to 1. Nothing is random."""
    return values + amount * 255


@corruption
def translate(values: Pixels, generator: Generator, pixels: float = 3) -> Pixels:
    """Moved by `pixels` left or right, and as many up or down; what comes free is 0."""
    right, down = pixels / 14 * generator.choice([-1, 1], (len(values), 2)).T
    return _warped(values, 1, 0, right, 0, 1, down)


def _warped(values: Pixels, *matrix: float | np.ndarray) -> Pixels:
    """Each pixel (x, y) taken, bilinearly, from (ax + by + c, dx + ey + f); outside is 0.

    `matrix` is a to f, each a number or `[n]`; x and y run from -1 to 1 over the image.
    """
    theta = np.empty((len(values), 2, 3))
    for place, entry in zip(np.ndindex(2, 3), matrix, strict=True):
        theta[:, *place] = entry
    pixels = torch.from_numpy(values).unsqueeze(1)
    grid = F.affine_grid(torch.from_numpy(theta), list(pixels.shape), align_corners=False)
    return warp(pixels, grid).squeeze(1).numpy()


@corruption
def stripe(values: Pixels, generator: Generator) -> Pixels:
    """The left and the right quarter, 7 columns each, inverted. Nothing is random."""
    return np.where((PLACES < 7) | (PLACES >= 21), 255 - values, values)


@corruption
def fog(values: Pixels, generator: Generator, amount: float = 3, decay: float = 1.4) -> Pixels:
    """Uneven fog, up to `amount` times as bright as ink (above 0), added; contrast goes down.

    A larger `decay`, 1 or more, makes smoother fog: each finer layer is decay squared fainter.
    """
    clouds = np.stack([_cloud(generator, decay) for _ in values])
    brightest = values.max(axis=(1, 2), keepdims=True) / 255
    return (values + 255 * amount * clouds) * brightest / (brightest + amount)


def _cloud(generator: Generator, decay: float) -> np.ndarray:
    """A corner, `[28, 28]`, of a fractal map of 256 by 256 heights, 0 to 1.

    Each step doubles the map's side: a new point is the mean of the four around it, and noise.
    Source: A. Fournier et al., "Computer rendering of stochastic models", CACM 25, 1982.
    """
    heights, size = np.zeros((1, 1), np.float32), 1.0
    while (side := len(heights)) < 256:
        noise = size * (2 * generator.random((3, side, side), np.float32) - 1)  # twice as fast
        # The map goes on at its other end, so a point at the edge has four around it too.
        right, below = (heights + np.roll(heights, -1, axis) for axis in (1, 0))
        middle = noise[0] + (right + np.roll(right, -1, axis=0)) / 4
        finer = np.empty((2 * side, 2 * side), np.float32)
        finer[::2, ::2], finer[1::2, 1::2] = heights, middle
        finer[::2, 1::2] = noise[1] + (right + middle + np.roll(middle, 1, axis=0)) / 4
        finer[1::2, ::2] = noise[2] + (below + middle + np.roll(middle, 1, axis=1)) / 4
        heights, size = finer, size / decay**2
    return (heights[:28, :28] - heights.min()) / np.ptp(heights)


@corruption
def spatter(values: Pixels, generator: Generator, threshold: float = 0.65) -> Pixels:
    """Splashes of dark mud (63) on the ink, where smooth noise of mean 0.65 is over `threshold`."""
    noise = generator.normal(0.65, 0.3, values.shape)
    wet = gaussian_filter(noise, (0, 1, 1), mode="nearest") > threshold
    mud = gaussian_filter(wet, (0, 1.5, 1.5), output=np.float64, mode="nearest")
    return np.where(mud < 0.8, values, values * (1 - mud) + 63 * mud)


@corruption
def dotted_line(values: Pixels, generator: Generator) -> Pixels:
    """A straight line of dashes added, from the left edge to the right at random heights."""
    starts, ends = generator.integers(27, size=(len(values), 2)).T
    zeros, dashes = np.zeros(len(values)), PLACES // 2 % 2
    return values + 255 * dashes * _line(zeros, starts, zeros + 27, ends)


@corruption
def zigzag(values: Pixels, generator: Generator) -> Pixels:
    """A zigzag line added, across the image at a random height and a slight random slope."""
    row, drop = generator.integers([0, -5], [27, 5], (len(values), 2)).T[:, :, None]
    angle = np.arctan(drop / 23)
    length, ones = 23 / np.cos(angle), np.ones(angle.shape)
    along = np.hstack([ones * [0, 2, 6, 10, 14, 18, 22], length])
    aside = np.hstack([ones * [0, 2, -2, 2, -2, 2, -2], 1 / (20 - length)])
    columns = (2 + along * np.cos(angle) - aside * np.sin(angle)).T
    rows = (row + along * np.sin(angle) + aside * np.cos(angle)).T
    return values + 255 * sum(map(_line, columns[:-1], rows[:-1], columns[1:], rows[1:]))


def _line(*ends: np.ndarray) -> np.ndarray:
    """Straight lines from (left, top) to (right, bottom), each `[n]`: ink 0 to 1, `[n, 28, 28]`.

    It fades out over 1.45 rows above and below.
    """
    left, top, right, bottom = (end[:, None] for end in ends)
    rows = top + (bottom - top) / (right - left) * (PLACES - left)
    distance = np.abs(PLACES[:, None] - rows[:, None, :])
    ink = 1 + np.log(1 - np.minimum(distance, 2) / 2.3)
    inside = (np.floor(left) <= PLACES) & (np.ceil(right) > PLACES)
    return ink.clip(0, 1) * inside[:, None, :]


@corruption
def canny_edges(values: Pixels, generator: Generator, sigma: float = 1) -> Pixels:
    """The outlines only, 255 on 0, after a Gaussian blur of `sigma` pixels. Nothing is random.

    Source: J. Canny, "A computational approach to edge detection", IEEE PAMI 8, 1986.
    """
    return 255.0 * np.array([canny(image / 255, sigma) for image in values])
