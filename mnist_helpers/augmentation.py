"""Changed copies of the training images, a different change for each (10_speed.ipynb)."""

import torch
from torch import Tensor
from torch.nn import functional as F

AUGMENTATIONS = ("none", "shift")


def shift(images: Tensor, generator: torch.Generator | None = None, pixels: int = 1) -> Tensor:
    """Move each image by up to `pixels` to any side, and fill what comes free with 0.

    Args:
        images: `[N, C, H, W]`, uint8 or float, on any device; they are not changed.
        generator: a CPU generator for the draws; None: torch's own.
        pixels: the most, 1 or more; every whole number up to it, to any side, is equally likely.

    Returns:
        A new tensor of the same shape and dtype.
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
