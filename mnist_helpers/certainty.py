"""How sure is an answer, and is it a digit at all? Temperature, limit, distance to the training
digits (09_handwriting.ipynb).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mnist_helpers.data import DigitSet
from mnist_helpers.evaluation import embeddings, predict_logits
from mnist_helpers.files import read_tensors, tensor_file, write_whole
from torch import Tensor, nn
from torch.nn import functional as F

CENTRES_FILE = "centres.safetensors"
FLAGGED = 0.05  # of the validation digits, as "not sure"
# Chosen on nonsense made of validation digits: benchmarks/handwriting.py, part nonsense.
BY_PROBABILITY = 0.3  # of what is flagged, where the distance flags too
CENTRES = 100  # of each digit's training images
# Chosen on letters in other fonts than those that are measured: the same script and part.
DIRECTIONS = 64  # that count less, or half of those in which anything differs
MOST_NUMBERS = 40_000_000  # in memory, while they are looked for
TEMPERATURES = (0.05, 20.0)  # the search ends there, if a model makes no mistake


@dataclass(frozen=True)
class Certainty:
    """What makes a model's probabilities honest, and tells what is no digit.

    Attributes:
        temperature: logits are divided by it before the softmax; above 1, the model is less sure.
        threshold: the highest probability, 0 to 1, from which on an answer counts as sure.
        centres: float16 `[M, D]`, centres of what the last layer sees of the training digits,
            whose lists were divided by their lengths and then changed by `within`; None if nothing
            is known of them.
        farthest: the distance from the nearest centre, 0 to 2, up to which an answer may be sure.
        no_digit: the distance above which it is called no digit: the largest of the validation
            digits.
        within: float16 `[D, K]`, the directions in which training digits of one class differ most;
            a list x becomes `x - x @ within @ within.T`. None: it stays as it is.

    Raises:
        ValueError: the temperature is not positive, or the threshold not in 0 to 1.
    """

    temperature: float
    threshold: float
    centres: Tensor | None = field(default=None, compare=False, repr=False)
    farthest: float = math.inf
    no_digit: float = math.inf
    within: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not (0 < self.temperature < math.inf and 0 <= self.threshold <= 1):
            raise ValueError(f"{self}: the temperature must be above 0, the threshold 0 to 1")

    def is_sure(self, probabilities: Tensor, distances: Tensor | None = None) -> Tensor:
        """Which answers are sure: bool `[N]`.

        Args:
            probabilities: `[N, 10]`, made with the temperature.
            distances: `[N]`, from `distances`; None: the probability alone decides.
        """
        sure = probabilities.max(dim=1).values >= self.threshold
        return sure if distances is None else sure & (distances <= self.farthest)

    def distances(self, embedded: Tensor) -> Tensor:
        """How far from the nearest centre, 0 to 2, float32 `[N]`; 0 without centres.

        `embedded` is float32 `[N, D]`, from `embeddings`.
        """
        if self.centres is None:
            return torch.zeros(len(embedded))
        seen = _shrunk(F.normalize(embedded, dim=1), self.within)
        return torch.cdist(seen, self.centres.float()).min(dim=1).values

    def save(self, folder: Path) -> dict[str, float]:
        """Write centres and directions, if there are any, into a run's folder; return the numbers.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        numbers = {"temperature": self.temperature, "threshold": self.threshold}
        (folder / CENTRES_FILE).unlink(missing_ok=True)
        if self.centres is not None:
            within = {} if self.within is None else {"within": self.within}
            write_whole(folder / CENTRES_FILE, tensor_file({"centres": self.centres, **within}, {}))
            numbers |= {"farthest": self.farthest, "no_digit": self.no_digit}
        return numbers

    @classmethod
    def load(cls, folder: Path, numbers: Mapping[str, float]) -> "Certainty":
        """What `save` wrote and returned.

        Raises:
            CheckpointError: the centres are missing or damaged.
        """
        tensors = read_tensors(folder / CENTRES_FILE)[0] if "farthest" in numbers else {}
        return cls(**numbers, **tensors)  # type: ignore[arg-type]


def fit_certainty(
    model: nn.Module, validation: DigitSet, flagged: float = FLAGGED, train: DigitSet | None = None
) -> Certainty:
    """Temperature and limits from digits that the model has not learned from.

    The temperature makes the mean cross-entropy smallest (C. Guo et al., "On calibration of modern
    neural networks", ICML 2017); the answers stay the same. The limits leave the part `flagged`,
    0 to 1, of these digits as not sure: those of the lowest probability and, if the digits that
    the model has learned from are given as `train`, those farthest from them in the last layer
    (as Y. Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022, but
    with centres of k-means in place of all digits). There the directions in which digits of one
    class differ most count no more than the next one (in part as K. Lee et al., "A simple unified
    framework for detecting out-of-distribution samples", NeurIPS 2018, with a shared covariance).

    Raises:
        ValueError: there are no digits, or `flagged` is out of range.
    """
    if not len(validation) or (train is not None and not len(train)):
        raise ValueError("no digits: give validation digits, and training digits or None")
    if not 0 <= flagged < 1:
        raise ValueError(f"flagged is {flagged}: it must be at least 0 and under 1")
    if train is None:
        logits = predict_logits(model, validation.images)
    else:
        embedded, logits = embeddings(model, validation.images)
    temperature = _temperature(logits.double(), validation.labels.cpu())
    top = (logits / temperature).softmax(dim=1).max(dim=1).values.double()  # as `predict` does
    if train is None:
        return Certainty(temperature, float(top.quantile(flagged)))
    centres, within = _centres(model, train)
    far = Certainty(temperature, 0, centres, within=within).distances(embedded)
    far = far.double().clamp(min=1e-6)
    ranks = [values.argsort().argsort() / len(values) for values in (top, -far)]
    together = torch.minimum(ranks[0] / BY_PROBABILITY, ranks[1] / (1 - BY_PROBABILITY))
    part = float(together.quantile(flagged))
    threshold = top.quantile(min(1.0, BY_PROBABILITY * part))
    farthest = far.quantile(max(0.0, 1 - (1 - BY_PROBABILITY) * part))
    limits = float(farthest), float(far.max())
    return Certainty(temperature, float(threshold), centres, *limits, within)


def _temperature(logits: Tensor, labels: Tensor) -> float:
    from scipy.optimize import minimize_scalar  # here: slow to import

    found = minimize_scalar(
        lambda power: F.cross_entropy(logits / 2**power, labels).item(),
        bounds=[math.log2(bound) for bound in TEMPERATURES],
        method="bounded",
    )
    return 2 ** float(found.x)


def _centres(model: nn.Module, train: DigitSet) -> tuple[Tensor, Tensor]:
    """`centres` and `within` of the embeddings of each digit's training images."""
    from sklearn.cluster import MiniBatchKMeans  # here: slow to import

    width = embeddings(model, train.images[:1])[0].shape[1]
    count = min(len(train), MOST_NUMBERS // width)
    train = train.select(torch.arange(count) * len(train) // count)  # they may be sorted
    embedded, labels = F.normalize(embeddings(model, train.images)[0], dim=1), train.labels.cpu()
    within, centres = _within(embedded, labels), []
    embedded = _shrunk(embedded, within)
    for digit in range(10):
        own = embedded[labels == digit]
        if len(own) > CENTRES:
            means = MiniBatchKMeans(CENTRES, batch_size=2_048, n_init=1, random_state=0)
            own = torch.from_numpy(means.fit(own.numpy()).cluster_centers_)
        centres.append(own)
    return torch.cat(centres).half(), within


def _within(embedded: Tensor, labels: Tensor) -> Tensor:
    """Directions, float16 `[D, K]`, so long that `_shrunk` makes digits of one class differ in each
    only as much as in the next one.
    """
    means = torch.stack([embedded[labels == digit].mean(dim=0) for digit in range(10)])
    apart = embedded - means[labels]
    variances, directions = torch.linalg.eigh(apart.T @ apart / len(apart))  # rising
    used = int((variances > 1e-4 * variances[-1]).sum())  # some units may always give 0
    first = len(variances) - min(DIRECTIONS, used // 2)
    ratios = variances[first - 1] / variances[first:]
    return (directions[:, first:] * (1 - ratios.sqrt()).sqrt()).half()


def _shrunk(embedded: Tensor, within: Tensor | None) -> Tensor:
    """Without the part of each direction that is too much."""
    return embedded if within is None else embedded - embedded @ within.float() @ within.float().T
