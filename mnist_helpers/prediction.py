"""From images to digits: probabilities (05_prediction.ipynb)."""

import math

import torch
from mnist_helpers.evaluation import predict_logits
from mnist_helpers.mnist_files import DataError
from torch import Tensor, nn


def predict(model: nn.Module, images: Tensor, temperature: float = 1.0) -> Tensor:
    """Probabilities, float32 `[N, 10]` on the CPU; each row sums to 1.

    Args:
        model: gives logits.
        images: uint8 0 to 255, or float in [0, 1], `[N, 1, 28, 28]`: bright digits on black.
        temperature: divides the logits; see `fit_certainty`.

    Raises:
        DataError: the images have another shape, type or range.
        ValueError: the temperature is not positive.
    """
    if not isinstance(images, Tensor):
        raise DataError(f"images are a {type(images).__name__}; give a torch tensor")
    if images.dim() != 4 or images.shape[1:] != (1, 28, 28):
        raise DataError(f"images are {list(images.shape)}; they must be [N, 1, 28, 28]")
    if images.is_floating_point():
        if images.numel() and not 0 <= images.min() <= images.max() <= 1:
            raise DataError("float images must lie in [0, 1]: divide by 255, or give uint8")
    elif images.dtype != torch.uint8:
        raise DataError(f"images are {images.dtype}; give uint8 0..255 or float in [0, 1]")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}: it must be a positive number")
    return (predict_logits(model, images) / temperature).softmax(dim=1)
