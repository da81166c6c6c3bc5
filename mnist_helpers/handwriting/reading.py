"""What a model reads in a photo, a scan or a drawing (09_handwriting.ipynb)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mnist_helpers.evaluation import Certainty
from mnist_helpers.handwriting.digits import FoundDigit, digits_from_image
from mnist_helpers.prediction import predict
from torch import Tensor, nn


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
    """What a model reads in a photo, a scan or a drawing: each digit, row by row.

    Args:
        model: gives logits.
        image: a path, a Pillow image or an array; see `digit_from_image`.
        certainty: temperature and threshold from `fit_certainty`, or those of a saved run.

    Raises:
        DigitNotFound: there is no digit.
        DataError: it is no readable image.
    """
    return read_found(model, digits_from_image(image), certainty)


def read_found(
    model: nn.Module, found: Sequence[FoundDigit], certainty: Certainty | None = None
) -> list[Reading]:
    """The same for digits that were found before, at least one."""
    images = torch.stack([digit.image for digit in found])
    probabilities = predict(model, images, certainty.temperature if certainty else 1.0)
    best, digits = probabilities.max(dim=1)
    sure = certainty.is_sure(probabilities).tolist() if certainty else [None] * len(found)
    rows = zip(digits.tolist(), best.tolist(), sure, probabilities, found, strict=True)
    return [Reading(*row) for row in rows]
