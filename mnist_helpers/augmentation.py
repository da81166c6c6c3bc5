"""Changed copies of the training images, a different change for each (07_regularisation.ipynb).

Every change takes images `[N, C, H, W]`, uint8 0 to 255 or float in [0, 1], on any device, and
returns a new tensor of the same shape, dtype and device; what it was given stays as it is. The
labels stay too: a change must leave a digit the digit it is. So there is no flip here. A mirrored
2 is no 2, and a 6 upside down is a 9.

Draws come from `generator`, of the CPU or (but for `shift`) of the images' device; None: torch's
own. These two arguments, `images` and `generator`, are not described again below.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

STRENGTH, SIGMA = 12.0, 4.0  # of `elastic`, in pixels: the larger SIGMA, the smoother


def shift(images: Tensor, generator: Generator | None = None, pixels: int = 1) -> Tensor:
    """Move each image by up to `pixels` to any side, and fill what comes free with 0.

    Args:
        pixels: the most, 1 or more; every whole number up to it, to any side, is equally likely.
    """
    height, width = images.shape[-2:]
    around = F.pad(images, [pixels] * 4)
    # A view with all (2 pixels + 1)^2 places to cut from; nothing is copied until the choice.
    places = around.unfold(2, height, 1).unfold(3, width, 1)
    draws = torch.randint(2 * pixels + 1, (2, len(images)), generator=generator, device="cpu")
    if images.is_cuda:  # pinned, the copy need not wait for the steps before it
        draws = draws.pin_memory()
    down, right = draws.to(images.device, non_blocking=True)
    return places[torch.arange(len(images), device=images.device), :, down, right]


def affine(
    images: Tensor,
    generator: Generator | None = None,
    *,
    degrees: float = 10.0,
    pixels: float = 2.0,
    scale: float = 0.1,
    shear: float = 10.0,
) -> Tensor:
    """Turn, move, resize and slant each image, each by a draw of its own.

    Each strength is the most; every value up to it, to either side, is equally likely.

    Args:
        degrees: of the turn. shear: degrees of the slant.
        pixels: of the move, along and across. scale: below 1; 0.1 is 0.9 to 1.1 times the size.

    Raises:
        ValueError: `scale` is out of its range.
    """
    if not 0 <= scale < 1:
        raise ValueError(f"scale is {scale}: it must be 0 to below 1")
    return warp(images, _affine(images, generator, degrees, pixels, scale, shear))


def _affine(images: Tensor, generator: Generator | None, *strengths: float) -> Tensor:
    """A grid for `warp`, drawn."""
    degrees, pixels, scale, shear = strengths
    most = torch.tensor([degrees, pixels, pixels, scale, shear], device=images.device)
    draws = most * (2 * _uniform((len(images), 5), images, generator) - 1)
    angle, right, down, growth, slant = draws.unbind(dim=1)
    return affine_grid(images.shape[-2:], angle, right, down, 1 + growth, slant)


def affine_grid(
    size: tuple[int, ...], angle: Tensor, right: Tensor, down: Tensor, scale: Tensor, shear: Tensor
) -> Tensor:
    """What `warp` needs to slant, turn (clockwise), resize and move images, in this order.

    All but the move leave the middle of the image where it is.

    Args:
        size: height and width of the images.
        angle, shear: degrees. right, down: pixels. scale: above 0. All float `[N]`.

    Returns:
        Float `[N, H, W, 2]`, as of `torch.nn.functional.affine_grid`.
    """
    angle, shear = torch.deg2rad(angle), torch.deg2rad(shear)
    cos, sin, slope = angle.cos() / scale, angle.sin() / scale, shear.tan()
    # The way back, from a pixel of the result to the one it comes from: turn, then slant.
    rows = (cos - slope * sin, sin + slope * cos, -sin, cos)
    back = torch.stack(rows, dim=1).view(-1, 2, 2)
    moved = back @ torch.stack((right, down), dim=1).unsqueeze(2)
    sides = torch.tensor(size[::-1], device=angle.device)  # the grid counts in halves of them
    theta = torch.cat([back * sides, -2 * moved], dim=2) / sides.view(2, 1)
    if not len(theta):
        return theta.new_empty(0, *size, 2)
    return F.affine_grid(theta, [len(theta), 1, *size], align_corners=False)


def elastic(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Bend each image as if it were drawn on rubber: nearby pixels move alike.

    Each pixel's move is noise, -1 to 1 along and across, smoothed by a Gaussian of `SIGMA` and
    multiplied by `STRENGTH`. Source: P. Simard et al., "Best practices for convolutional neural
    networks", ICDAR 2003, with their `SIGMA`; they took 34 as `STRENGTH`.
    """
    still = torch.eye(2, 3, device=images.device)[None]
    grid = F.affine_grid(still, [1, 1, *images.shape[-2:]], align_corners=False)
    return warp(images, grid + _elastic(images, generator))


def _elastic(images: Tensor, generator: Generator | None) -> Tensor:
    """What bends a grid for `warp`, drawn."""
    height, width = images.shape[-2:]
    field = 2 * _uniform((len(images), 2, height, width), images, generator) - 1
    across, along = (_gaussian(n, images.device) for n in (height, width))
    sides = torch.tensor([width, height], device=images.device)
    return (STRENGTH * (across @ field @ along.T)).permute(0, 2, 3, 1) * 2 / sides


def _gaussian(size: int, device: torch.device) -> Tensor:
    """Float `[size, size]`: times it, a column is smoothed, with zeros beyond its ends."""
    place = torch.arange(size, device=device)
    weight = torch.exp(-(((place[:, None] - place) / SIGMA) ** 2) / 2)
    reach = int(4 * SIGMA + 0.5)  # where scipy cuts the Gaussian off
    everywhere = torch.arange(-reach, reach + 1, device=device)
    weight = weight.where((place[:, None] - place).abs() <= reach, 0)
    return weight / torch.exp(-((everywhere / SIGMA) ** 2) / 2).sum()


def distort(images: Tensor, generator: Generator | None = None) -> Tensor:
    """`affine` and `elastic` at once, in their usual strengths.

    Their moves are added before the one interpolation: each interpolation blurs a little.
    """
    grid = _affine(images, generator, 10.0, 2.0, 0.1, 10.0)
    return warp(images, grid + _elastic(images, generator))


def erase(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Paint a box of 4 to 12 pixels, across and down, over each image, in a grey of its own.

    Height, width and grey are drawn evenly, and so is the place; in an image of 12x12 or more, a
    box lies wholly inside.
    Source: Z. Zhong et al., "Random erasing data augmentation", AAAI 2020.
    """
    height, width = images.shape[-2:]
    tall, wide, top, left, grey = _uniform((5, len(images), 1, 1, 1), images, generator)
    tall, wide = (4 + _whole(draw, 9) for draw in (tall, wide))
    below = torch.arange(height, device=images.device).view(-1, 1) - _whole(top, height - tall + 1)
    beside = torch.arange(width, device=images.device) - _whole(left, width - wide + 1)
    inside = (below >= 0) & (below < tall) & (beside >= 0) & (beside < wide)
    return torch.where(inside, _like(grey, images), images)


def noise(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Add Gaussian noise to each pixel, and clamp to black and white.

    Each image has a standard deviation of its own, evenly drawn from 0 to 0.7 (white is 1).
    """
    sigma = 0.7 * _uniform((len(images), 1, 1, 1), images, generator)
    device = images.device if generator is None else generator.device
    draws = torch.randn(images.shape, generator=generator, device=device).to(images.device)
    return _like((as_floats(images) + sigma * draws).clamp(0, 1), images)


def thickness(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Write each image with another pen: thicker or thinner strokes, by up to a pixel a side.

    The brightest (or darkest) pixel of the 3x3 around each place is mixed in, up to a part of 0.85.
    """
    pixels = as_floats(images)
    part = 0.85 * (2 * _uniform((len(images), 1, 1, 1), images, generator) - 1)
    if not len(images):
        return images.clone()
    thick, thin = F.max_pool2d(pixels, 3, 1, 1), -F.max_pool2d(-pixels, 3, 1, 1)
    other = torch.where(part > 0, thick, thin)
    return _like(pixels + part.abs() * (other - pixels), images)


def warp(images: Tensor, grid: Tensor) -> Tensor:
    """Give each pixel the value at its place in the grid, bilinear; outside lies 0.

    Args:
        grid: float `[N, H, W, 2]`: x and y, -1 to 1 from edge to edge of the image.
    """
    pixels = as_floats(images)
    return _like(F.grid_sample(pixels, grid.to(pixels.dtype), align_corners=False), images)


def _uniform(shape: tuple[int, ...], images: Tensor, generator: Generator | None) -> Tensor:
    """Draws from 0 to 1, on the images' device."""
    device = images.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device).to(images.device)


def _whole(draws: Tensor, count: int | Tensor) -> Tensor:
    """Draws from 0 to 1 as whole numbers from 0 to `count` - 1, all equally likely."""
    last = torch.as_tensor(count - 1, dtype=draws.dtype, device=draws.device)
    return torch.minimum((draws * count).floor(), last)


def as_floats(images: Tensor) -> Tensor:
    """Images of any shape as floats in [0, 1], float32 or float64: coarser ones name no place."""
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: give uint8, or floats in [0, 1]")
    return images.to(torch.promote_types(images.dtype, torch.float32))


def _like(values: Tensor, images: Tensor) -> Tensor:
    """Floats in [0, 1] as what `images` are."""
    if images.dtype == torch.uint8:
        return (values * 255).round().to(torch.uint8)
    return values.to(images.dtype)


# By the name that a Recipe knows them by.
AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    change.__name__: change for change in (shift, affine, elastic, distort, erase, noise, thickness)
}


def augment(images: Tensor, names: str, generator: Generator | None = None) -> Tensor:
    """Apply one augmentation after another.

    Args:
        names: of `AUGMENTATIONS`, joined by a plus, such as `affine+noise`; or `none`.

    Raises:
        KeyError: there is no such augmentation.
    """
    if names == "none":
        return images
    for name in names.split("+"):
        images = AUGMENTATIONS[name](images, generator)
    return images
