"""How good is a model: accuracy, intervals, F1, confusion, calibration (04_evaluation.ipynb).

Every figure is a sum over samples divided by their number, never a mean of batch means.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from mnist_helpers.data import DigitSet
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the `with`; afterwards each layer has its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def predict_logits(model: nn.Module, images: Tensor, batch_size: int = 1_000) -> Tensor:
    """Logits, float32 `[N, 10]` on the CPU, in evaluation mode; each layer's mode is put back.

    Args:
        model: takes images `[N, 1, 28, 28]`, gives logits `[N, 10]`; runs on its own device.
        images: uint8 0 to 255, or float in [0, 1], `[N, 1, 28, 28]`.
        batch_size: of images at a time; the result does not depend on it, up to rounding.
    """
    weight = next(model.parameters(), images)
    with evaluating(model):
        logits = [model(part.to(weight.device)).float().cpu() for part in images.split(batch_size)]
    return torch.cat(logits)


def lay_out(model: nn.Module, device: torch.device) -> None:
    """Move a model to a device, the channels of a pixel side by side, which makes it faster.

    A model that fails so (tried in evaluation mode), since it calls `view` after a convolution,
    keeps the usual layout.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        predict_logits(model, torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    except RuntimeError:
        model.to(memory_format=torch.contiguous_format)


def embeddings(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the last linear layer that a model lists sees of each image, and the logits.

    Args:
        model, images: as for `predict_logits`.

    Returns:
        float32 on the CPU: `[N, D]`, and `[N, 10]`.

    Raises:
        ValueError: the model has no linear layer.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(model).__name__} has no linear layer: there is nothing before it")
    seen: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        logits = predict_logits(model, images)
    finally:
        hook.remove()
    return torch.cat(seen).float().cpu(), logits


def loss_and_accuracy(model: nn.Module, digits: DigitSet) -> tuple[float, float]:
    """Mean cross-entropy (nats) and the fraction of right answers; ValueError without a digit."""
    if not len(digits):
        raise ValueError(f"{digits.name} holds no digits: there is no mean")
    logits, labels = predict_logits(model, digits.images), digits.labels.cpu()
    correct = (logits.argmax(dim=1) == labels).sum().item()
    return F.cross_entropy(logits, labels).item(), correct / len(labels)


@dataclass(frozen=True, eq=False)
class Report:
    """The result of `evaluate(model, digits)`; fractions are 0 to 1.

    Attributes:
        name: the name of the digits.
        labels: int64 `[N]`, the true digits.
        predictions: int64 `[N]`, the digit with the highest logit.
        probabilities: float32 `[N, 10]`; rows sum to 1.
        loss: mean cross-entropy in nats.
        accuracy: right answers divided by N.
        accuracy_interval: its Wilson 95 % interval, (low, high).
        f1_macro: the plain mean of the F1 scores of the digits that occur, true or predicted.
        f1_weighted: their mean weighted by how often each digit occurs.
        confusion: int64 `[10, 10]`; row: true digit, column: predicted digit.
        per_class: precision, recall, F1 and support; a row a digit.
    """

    name: str
    labels: Tensor
    predictions: Tensor
    probabilities: Tensor
    loss: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    f1_macro: float
    f1_weighted: float
    confusion: Tensor
    per_class: "pd.DataFrame"

    def mistakes(self) -> Tensor:
        """Positions of the wrong answers, int64 `[M]`, the most confident mistake first."""
        confidence = self.probabilities.max(dim=1).values
        wrong = (self.predictions != self.labels).nonzero().flatten()
        return wrong[confidence[wrong].argsort(descending=True, stable=True)]

    def most_confused(self, count: int = 5) -> list[tuple[int, int, int]]:
        """The most frequent errors: `(true digit, predicted digit, how often)`."""
        errors = self.confusion.clone().fill_diagonal_(0).flatten()
        top = errors.argsort(descending=True, stable=True)[:count].tolist()
        return [(i // 10, i % 10, int(errors[i])) for i in top if errors[i] > 0]

    def __str__(self) -> str:
        low, high = self.accuracy_interval
        return (
            f"{self.name}: {len(self.labels):,} digits\n"
            f"accuracy     {self.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%})\n"
            f"macro F1     {self.f1_macro:.4f}\n"
            f"weighted F1  {self.f1_weighted:.4f}\n"
            f"loss         {self.loss:.4f}"
        )


def evaluate(model: nn.Module, digits: DigitSet) -> Report:
    """Run `model` over `digits` and report. Changes nothing: neither weights nor random state."""
    return report_on(predict_logits(model, digits.images), digits.labels.cpu(), digits.name)


def report_on(logits: Tensor, labels: Tensor, name: str) -> Report:
    """The report on logits `[N, 10]` and true labels `[N]`.

    Raises:
        ValueError: there are no labels, or the logits are not `[N, 10]` for them.
    """
    # Here, not above: scikit-learn takes longer to import than all of this package.
    import pandas as pd
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    if not len(labels) or logits.shape != (len(labels), 10):
        found = f"{len(labels)} labels for logits {list(logits.shape)}"
        raise ValueError(f"{found}: give one for each digit, and ten logits")
    logits, labels = logits.detach().float().cpu(), labels.long().cpu()
    predictions = logits.argmax(dim=1)
    confusion = confusion_matrix(labels, predictions, labels=range(10))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=range(10), zero_division=0
    )
    correct = int(confusion.trace())
    present = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0  # as scikit-learn counts classes
    columns = {"precision": precision, "recall": recall, "f1": f1, "support": support}
    return Report(
        name=name,
        labels=labels,
        predictions=predictions,
        probabilities=logits.softmax(dim=1),
        loss=F.cross_entropy(logits, labels).item(),
        accuracy=correct / len(labels),
        accuracy_interval=wilson_interval(correct, len(labels)),
        f1_macro=float(f1[present].mean()),
        f1_weighted=float((f1 * support).sum() / support.sum()),
        confusion=torch.from_numpy(confusion),
        per_class=pd.DataFrame(columns, index=pd.Index(range(10), name="digit")),
    )


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """95 % interval of an accuracy, (low, high), by Wilson's score method.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 1927.
    """
    from scipy.stats import binomtest  # here: slow to import

    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of a few measurements, (low, high), by Student's t distribution.

    It covers what another draw of seeds would change, not another test set. NaN for one value.
    """
    from scipy.stats import t  # here: slow to import

    if len(values) < 2:
        return math.nan, math.nan
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


class McNemar(NamedTuple):
    """Two models on the same images: `first_only` and `second_only` count the images that only
    this one reads wrongly; `p_value`, 0 to 1, is how likely chance alone parts equal models at
    least as far.
    """

    first_only: int
    second_only: int
    p_value: float


def mcnemar(first_mistakes: Iterable[int], second_mistakes: Iterable[int]) -> McNemar:
    """McNemar's exact test: do two trained models, on the same images, differ by more than chance?

    Images that both read rightly, or both wrongly, say nothing; of the others, equal models would
    get half each. Both arguments are positions of images: those that the model reads wrongly.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12, 1947; the exact form is a binomial test.
    """
    from scipy.stats import binomtest  # here: slow to import

    first, second = ({int(index) for index in side} for side in (first_mistakes, second_mistakes))
    first_only, second_only = len(first - second), len(second - first)
    if first_only + second_only == 0:
        return McNemar(0, 0, 1.0)
    p_value = binomtest(first_only, first_only + second_only, 0.5).pvalue
    return McNemar(first_only, second_only, float(p_value))


def calibration(probabilities: Tensor, labels: Tensor, bins: int = 15) -> "pd.DataFrame":
    """Confidence against accuracy, a row per bin of equal width that holds a prediction.

    Args:
        probabilities: `[N, 10]`; labels: int64 `[N]`; bins: how many divide 0 to 1.

    Returns:
        Columns `confidence` and `accuracy` (means over the bin) and `count`.
    """
    import pandas as pd  # here: slow to import

    confidence, predictions = probabilities.double().max(dim=1)
    frame = pd.DataFrame({"confidence": confidence, "accuracy": (predictions == labels).double()})
    # Bins are (low, high]: a confidence of exactly 1 belongs to the last.
    bin_of = (confidence * bins).ceil().clamp(1, bins).long() - 1
    grouped = frame.groupby(bin_of.numpy())
    return grouped.mean().assign(count=grouped.size())


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """ECE, 0 (best) to 1: the mean gap between confidence and accuracy, weighted by count.

    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    table = calibration(probabilities, labels, bins)
    gap = (table["confidence"] - table["accuracy"]).abs()
    return float((gap * table["count"]).sum() / table["count"].sum())
