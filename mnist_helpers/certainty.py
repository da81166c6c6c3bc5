"""How sure is sure: a temperature for probabilities, and the limit under which to ask a person
(09_handwriting.ipynb).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

from mnist_helpers.data import DigitSet
from mnist_helpers.evaluation import predict_logits

if TYPE_CHECKING:
    from torch import Tensor

FLAGGED = 0.05  # of the validation digits, as "not sure"
TEMPERATURES = (0.05, 20.0)  # the search ends there, if a model makes no mistake


@dataclass(frozen=True)
class Certainty:
    """What makes a model's probabilities honest.

    Attributes:
        temperature: logits are divided by it before the softmax; above 1, the model is less sure.
        threshold: the highest probability, 0 to 1, from which on an answer counts as sure.

    Raises:
        ValueError: the temperature is not positive, or the threshold not in 0 to 1.
    """

    temperature: float
    threshold: float

    def __post_init__(self) -> None:
        if not (0 < self.temperature < math.inf and 0 <= self.threshold <= 1):
            raise ValueError(f"{self}: the temperature must be above 0, the threshold 0 to 1")

    def is_sure(self, probabilities: "Tensor") -> "Tensor":
        """Whether each row of probabilities `[N, 10]`, made with the temperature, is sure: bool
        `[N]`.
        """
        return probabilities.max(dim=1).values >= self.threshold


def fit_certainty(model: nn.Module, validation: DigitSet, flagged: float = FLAGGED) -> Certainty:
    """Temperature and threshold from digits that the model has not learned from.

    The temperature makes the mean cross-entropy smallest; the answers stay the same. The threshold
    leaves the part `flagged`, 0 to 1, of these digits as not sure.

    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017.

    Raises:
        ValueError: there are no digits, or `flagged` is out of range.
    """
    from scipy.optimize import minimize_scalar  # here: slow to import

    if not len(validation):
        raise ValueError("no validation digits: the temperature is fitted on them")
    if not 0 <= flagged < 1:
        raise ValueError(f"flagged is {flagged}: it must be at least 0 and under 1")
    logits, labels = predict_logits(model, validation.images).double(), validation.labels.cpu()

    def loss(logarithm: float) -> float:
        return F.cross_entropy(logits / 2**logarithm, labels).item()

    low, high = (math.log2(bound) for bound in TEMPERATURES)
    temperature = 2 ** float(minimize_scalar(loss, bounds=(low, high), method="bounded").x)
    top = (logits / temperature).softmax(dim=1).max(dim=1).values
    return Certainty(temperature, float(top.quantile(flagged)))
