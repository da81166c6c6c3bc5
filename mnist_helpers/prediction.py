"""From an image to a digit: probabilities, image files, lines of text (05_prediction.ipynb)."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mnist_helpers.certainty import Certainty
from mnist_helpers.data import DataError
from mnist_helpers.evaluation import predict_logits
from mnist_helpers.handwriting import FoundDigit, digits_from_image
from mnist_helpers.image_files import open_image


def predict(model: nn.Module, images: Tensor, temperature: float = 1.0) -> Tensor:
    """Probabilities, float32 `[N, 10]` on the CPU; each row sums to 1.

    Args:
        model: gives logits.
        images: uint8 0 to 255, or float in [0, 1], `[N, 1, 28, 28]`: bright digits on black.
        temperature: divides the logits; see `fit_certainty`.

    Raises:
        DataError: the images have another shape, type or range.
    """
    if images.dim() != 4 or images.shape[1:] != (1, 28, 28):
        raise DataError(f"images are {list(images.shape)}; they must be [N, 1, 28, 28]")
    if images.is_floating_point():
        if images.numel() and not 0 <= images.min() <= images.max() <= 1:
            raise DataError("float images must lie in [0, 1]: divide by 255, or give uint8")
    elif images.dtype != torch.uint8:
        raise DataError(f"images are {images.dtype}; give uint8 0..255 or float in [0, 1]")
    return (predict_logits(model, images) / temperature).softmax(dim=1)


def load_image(path: str | Path) -> Tensor:
    """An image file in MNIST's own form as uint8 `[1, 28, 28]`: a bright digit on black.

    Colour becomes grey, transparency black; a larger square is scaled down, anti-aliased.

    Raises:
        DataError: no image, not square, or under 28x28 pixels.
    """
    from PIL import Image  # here: only this function needs it

    with open_image(path) as file:
        image = _as_grey(file)
    width, height = image.size
    if width != height or width < 28:
        raise DataError(f"{path} is {width}x{height} pixels: give a square of at least 28x28")
    if width > 28:
        image = image.resize((28, 28), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).unsqueeze(0)


def _as_grey(file):  # type: ignore[no-untyped-def]  # Pillow is imported inside load_image
    """The open image file as 8-bit grey, over black where it is transparent."""
    from PIL import Image

    if file.mode.startswith("I;16") or file.mode == "I":
        return Image.fromarray((np.array(file) // 257).astype(np.uint8))
    if "A" in file.getbands() or "transparency" in file.info:
        coloured = file.convert("RGBA")
        black = Image.new("RGBA", coloured.size, "black")
        return Image.alpha_composite(black, coloured).convert("L")
    return file.convert("L")


class Reading(NamedTuple):
    """A digit that a model reads in an image.

    Attributes:
        digit: 0 to 9.
        probability: of this digit, 0 to 1.
        sure: whether the probability reaches the threshold; None if there is none.
        probabilities: float32 `[10]`.
        found: the digit as MNIST would have it, its box and the steps.
    """

    digit: int
    probability: float
    sure: bool | None
    probabilities: Tensor
    found: FoundDigit

    def __str__(self) -> str:
        doubt = "" if self.sure or self.sure is None else "  not sure"
        return f"{self.digit}  {self.probability:.4f}{doubt}"


def read_digits(model: nn.Module, image: Any, certainty: Certainty | None = None) -> list[Reading]:
    """What a model reads in a photo, a scan or a drawing: each digit, from left to right.

    Args:
        model: gives logits.
        image: a path, a Pillow image or an array; see `digit_from_image`.
        certainty: temperature and threshold from `fit_certainty`, or those of a saved run.

    Raises:
        DigitNotFound: there is no digit.
        DataError: it is no readable image.
    """
    found = digits_from_image(image)
    images = torch.stack([digit.image for digit in found])
    probabilities = predict(model, images, certainty.temperature if certainty else 1.0)
    best, digits = probabilities.max(dim=1)
    sure = certainty.is_sure(probabilities).tolist() if certainty else [None] * len(found)
    rows = zip(digits.tolist(), best.tolist(), sure, probabilities, found, strict=True)
    return [Reading(*row) for row in rows]


def prediction_lines(labels: Tensor, probabilities: Tensor) -> list[str]:
    """A line for each image, such as `True: 7 | Predicted: 7`.

    Args:
        labels: int64 `[N]`. probabilities: `[N, 10]`.
    """
    pairs = zip(labels.tolist(), probabilities.argmax(dim=1).tolist(), strict=True)
    return [f"True: {true} | Predicted: {predicted}" for true, predicted in pairs]
