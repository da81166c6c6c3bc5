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
MOST_NUMBERS = 40_000_000  # in memory, while they are looked for
TEMPERATURES = (0.05, 20.0)  # the search ends there, if a model makes no mistake


@dataclass(frozen=True)
class Certainty:
    """What makes a model's probabilities honest, and tells what is no digit.

    Attributes:
        temperature: logits are divided by it before the softmax; above 1, the model is less sure.
        threshold: the highest probability, 0 to 1, from which on an answer counts as sure.
        centres: float16 `[M, D]`, centres of what the last layer sees of the training digits,
            whose lists were divided by their lengths first; None if nothing is known of them.
        farthest: the distance from the nearest centre, 0 to 2, up to which an answer may be sure.
        no_digit: the distance above which it is called no digit: the largest of the validation
            digits.

    Raises:
        ValueError: the temperature is not positive, or the threshold not in 0 to 1.
    """

    temperature: float
    threshold: float
    centres: Tensor | None = field(default=None, compare=False, repr=False)
    farthest: float = math.inf
    no_digit: float = math.inf

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
        far = torch.cdist(F.normalize(embedded, dim=1), self.centres.float())
        return far.min(dim=1).values

    def save(self, folder: Path) -> dict[str, float]:
        """Write the centres, if there are any, into the folder of a run; return the numbers.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        numbers = {"temperature": self.temperature, "threshold": self.threshold}
        (folder / CENTRES_FILE).unlink(missing_ok=True)
        if self.centres is not None:
            write_whole(folder / CENTRES_FILE, tensor_file({"centres": self.centres}, {}))
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
    with centres of k-means in place of all digits).

    Raises:
        ValueError: there are no digits, or `flagged` is out of range.
    """
    if not len(validation):
        raise ValueError("no validation digits: the temperature is fitted on them")
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
    centres = _centres(model, train)
    far = Certainty(temperature, 0, centres).distances(embedded).double().clamp(min=1e-6)
    ranks = [values.argsort().argsort() / len(values) for values in (top, -far)]
    together = torch.minimum(ranks[0] / BY_PROBABILITY, ranks[1] / (1 - BY_PROBABILITY))
    part = float(together.quantile(flagged))
    threshold = top.quantile(min(1.0, BY_PROBABILITY * part))
    farthest = far.quantile(max(0.0, 1 - (1 - BY_PROBABILITY) * part))
    return Certainty(temperature, float(threshold), centres, float(farthest), float(far.max()))


def _temperature(logits: Tensor, labels: Tensor) -> float:
    from scipy.optimize import minimize_scalar  # here: slow to import

    found = minimize_scalar(
        lambda power: F.cross_entropy(logits / 2**power, labels).item(),
        bounds=[math.log2(bound) for bound in TEMPERATURES],
        method="bounded",
    )
    return 2 ** float(found.x)


def _centres(model: nn.Module, train: DigitSet) -> Tensor:
    """Centres of the embeddings of each digit's training images, float16 `[M, D]`."""
    from sklearn.cluster import MiniBatchKMeans  # here: slow to import

    width = embeddings(model, train.images[:1])[0].shape[1]
    count = min(len(train), MOST_NUMBERS // width)
    train = train.select(torch.arange(count) * len(train) // count)  # they may be sorted
    embedded, labels = F.normalize(embeddings(model, train.images)[0], dim=1), train.labels.cpu()
    centres = []
    for digit in range(10):
        own = embedded[labels == digit]
        if len(own) > CENTRES:
            means = MiniBatchKMeans(CENTRES, batch_size=2_048, n_init=1, random_state=0)
            own = torch.from_numpy(means.fit(own.numpy()).cluster_centers_)
        centres.append(own)
    return torch.cat(centres).half()
