"""Recipe: everything that decides a training run, and what follows from it (03_training.ipynb)."""

import math
import numbers
from dataclasses import dataclass

import torch
from mnist_helpers.augmentation import AUGMENTATIONS
from mnist_helpers.device import RecipeError
from mnist_helpers.muon import Muon
from torch import Tensor, nn

CHOICES = {
    "optimizer": ("sgd", "adam", "adamw", "adadelta", "muon"),
    "schedule": ("none", "step", "cosine", "one_cycle", "linear"),
    "keep": ("best", "last"),
    "precision": ("auto", "float32", "bfloat16"),
}


@dataclass(frozen=True)
class Recipe:
    """How to train. Equal recipes and data on the same CPU, with as many threads, give equal bits.

    Attributes:
        epochs: passes over the training set, or over `epoch_size` images of it; at least 1.
        batch_size: images a step, at least 1; the last batch of an epoch may be smaller.
        optimizer: `sgd` (with momentum), `adam`, `adamw`, `adadelta` or `muon`.
        learning_rate: the optimizer's; the peak under a schedule.
        weight_decay: an L2 penalty in the gradient; decoupled from it under `adamw` and `muon`.
        momentum: of `sgd` and `muon`, 0 to below 1; the others have their own.
        schedule: `none`; `step` (times `gamma` every `step_size` epochs); `cosine` (to 0);
            `one_cycle` (up over the first 30 % of the steps, down over the rest); `linear`
            (straight up over the first 20 %, straight down to 0 over the rest).
        augmentation: `none`, or names of `AUGMENTATIONS` joined by a plus: each batch is changed by
            one after the other, `affine+noise` for example.
        epoch_size: how many images an epoch draws; None, or more than there are: all of them.
        label_smoothing: share of each label spread over all classes, 0 to below 1.
        patience: stop when so many epochs in a row brought no better validation; None: never.
        keep: the weights in the model at the end: `best` on validation (highest accuracy, then
            lowest loss), or `last`.
        precision: `float32`, `bfloat16` (autocast), or `auto`: bfloat16 where the
            device has it; on a CPU not for very small steps.
        seed: of the order of the images, of dropout and augmentation, 0 to 2**32 - 1.

    Raises:
        RecipeError: a value is out of its range.
    """

    epochs: int = 5
    batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "none"
    step_size: int = 1
    gamma: float = 0.5
    augmentation: str = "none"
    epoch_size: int | None = None
    label_smoothing: float = 0.0
    patience: int | None = None
    keep: str = "best"
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise RecipeError(f"unknown {name} {value!r}: choose one of {', '.join(choices)}")
        unknown = set(str(self.augmentation).split("+")) - set(AUGMENTATIONS)
        if unknown and self.augmentation != "none":
            names = ", ".join(AUGMENTATIONS)
            what = f"unknown augmentation {self.augmentation!r}"
            raise RecipeError(f"{what}: choose none, or of {names}; join several by +")
        for name in ("epochs", "batch_size", "step_size", "patience", "epoch_size", "seed"):
            value, least = getattr(self, name), int(name != "seed")
            if value is None and name in ("patience", "epoch_size"):
                continue
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            wanted = f"a whole number, at least {least}, below 2**32"
            _require(self, name, whole and least <= value < 2**32, wanted)
            object.__setattr__(self, name, int(value))  # numpy's whole numbers wrap around
        for name in ("learning_rate", "gamma", "momentum", "label_smoothing", "weight_decay"):
            value = getattr(self, name)
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            _require(self, name, number, "a number")
            object.__setattr__(self, name, float(value))
        for name in ("learning_rate", "gamma"):
            _require(self, name, 0 < getattr(self, name) < math.inf, "a positive number")
        for name in ("momentum", "label_smoothing"):
            _require(self, name, 0 <= getattr(self, name) < 1, "0 to below 1")
        _require(self, "weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")

    def epoch_of(self, count: int) -> tuple[int, int]:
        """How many images an epoch draws from `count`, and in how many steps."""
        size = min(self.epoch_size or count, count)
        return size, -(-size // self.batch_size)

    def summary(self) -> str:
        """The recipe in one line."""
        rate = f"{self.optimizer} {self.learning_rate:g}"
        rate += "" if self.schedule == "none" else f" {self.schedule}"
        epochs = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        if self.epoch_size is not None:
            epochs += f" of {self.epoch_size:,} images"
        return f"{epochs}, batch {self.batch_size}, {rate}"


def _require(recipe: Recipe, name: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise RecipeError(f"{name} is {getattr(recipe, name)}: it must be {wanted}")


def learning_rate_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the whole run.

    Equal to torch's StepLR, CosineAnnealingLR (stepped every batch) and OneCycleLR (its defaults:
    a start at 1/25 of the peak, an end at 1/250,000; L. Smith and N. Topin, "Super-convergence",
    2018). A function of the step alone has no state, so resuming needs none.
    """
    peak, total = recipe.learning_rate, recipe.epochs * steps_per_epoch
    if recipe.schedule == "step":
        return peak * recipe.gamma ** (step // steps_per_epoch // recipe.step_size)
    if recipe.schedule == "cosine":
        return _cosine(peak, 0.0, step / total)
    if recipe.schedule == "one_cycle":
        top = 0.3 * total - 1
        if step <= top:
            return _cosine(peak / 25, peak, step / top)
        return _cosine(peak, peak / 250_000, min((step - top) / (total - 1 - top), 1.0))
    if recipe.schedule == "linear":
        done = (step + 1) / (total + 1)  # no step is wasted on a rate of 0
        return peak * min(5 * done, 1.25 * (1 - done))
    return peak


def _cosine(start: float, end: float, fraction: float) -> float:
    """From `start` at fraction 0 to `end` at fraction 1 along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the model's weights, in torch's fused form where it has one.

    On CUDA it can be recorded in a graph; see `set_learning_rate`.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    on_cuda = any(weight.is_cuda for weight in weights)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(weights, rate, recipe.momentum, weight_decay=decay, fused=True)
    if recipe.optimizer == "muon":
        return Muon(weights, rate, recipe.momentum, decay)
    if recipe.optimizer == "adadelta":
        return torch.optim.Adadelta(weights, rate, weight_decay=decay, capturable=on_cuda)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, rate, weight_decay=decay, fused=True, capturable=on_cuda)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step: a number, or on CUDA a value in the tensor that a graph reads."""
    for group in optimizer.param_groups:
        weight = group["params"][0]
        if not weight.is_cuda:
            group["lr"] = rate
        elif isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = torch.tensor(rate, device=weight.device)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch, counted from 0: no epoch depends on the random state before it.

    So a run can stop after any epoch and go on later with exactly the numbers that it would have
    drawn. Different for every pair with less than 10,000 epochs and
    a seed under 429,000 (of a seed, torch takes 32 bits).
    """
    return seed * 10_000 + epoch
