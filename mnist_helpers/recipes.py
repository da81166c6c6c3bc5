"""Recipe: everything that decides a training run, and what follows from it (03_training.ipynb)."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from mnist_helpers.augmentation import AUGMENTATIONS
from mnist_helpers.muon import Muon

OPTIMIZERS = ("sgd", "adam", "adamw", "adadelta", "muon")
SCHEDULES = ("none", "step", "cosine", "one_cycle")
PRECISIONS = ("auto", "float32", "bfloat16")


class RecipeError(ValueError):
    """A value of a recipe, or a device, cannot be used; the message says which can."""


@dataclass(frozen=True)
class Recipe:
    """How to train. Equal recipes, equal data and the same CPU give equal weights, bit for bit.

    Attributes:
        epochs: passes over the training set, or over `epoch_size` images of it; at least 1.
        batch_size: images a step, at least 1; the last batch of an epoch may be smaller.
        optimizer: `sgd` (with momentum), `adam`, `adamw`, `adadelta` or `muon`.
        learning_rate: the optimizer's; the peak under a schedule.
        weight_decay: an L2 penalty in the gradient; decoupled from it under `adamw` and `muon`.
        momentum: of `sgd` and `muon`, 0 to below 1; the others have their own.
        schedule: `none`; `step` (times `gamma` every `step_size` epochs); `cosine` (to 0);
            `one_cycle` (up over the first 30 % of the steps, down over the rest).
        augmentation: `none`, or names of `AUGMENTATIONS` joined by a plus: each batch is changed by
            one after the other, `affine+noise` for example.
        epoch_size: how many images an epoch draws; None, or more than there are: all of them.
        label_smoothing: share of each label spread over all classes, 0 to below 1.
        patience: stop when so many epochs in a row brought no better validation; None: never.
        keep: the weights in the model at the end: `best` on validation (highest accuracy, then
            lowest loss), or `last`.
        precision: `float32`, `bfloat16` (autocast), or `auto`: bfloat16 where the device has it.
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
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("keep", ("best", "last")),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in choices:
                raise RecipeError(
                    f"unknown {name} {getattr(self, name)!r}: choose one of {', '.join(choices)}"
                )
        unknown = set(str(self.augmentation).split("+")) - set(AUGMENTATIONS)
        if unknown and self.augmentation != "none":
            raise RecipeError(
                f"unknown augmentation {self.augmentation!r}: choose none, or of "
                f"{', '.join(AUGMENTATIONS)}; join several by +"
            )
        for name in ("epochs", "batch_size", "step_size"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "gamma"):
            value = getattr(self, name)
            _require(self, name, 0 < value < math.inf, "a positive number")
        for name in ("momentum", "label_smoothing"):
            _require(self, name, 0 <= getattr(self, name) < 1, "0 to below 1")
        _require(self, "weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        for name in ("patience", "epoch_size"):
            value = getattr(self, name)
            _require(self, name, value is None or value >= 1, "at least 1")
        _require(self, "seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1")

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
    return peak


def _cosine(start: float, end: float, fraction: float) -> float:
    """From `start` at fraction 0 to `end` at fraction 1 along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the model's weights, in torch's fused form where it has one."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            weights, rate, momentum=recipe.momentum, weight_decay=decay, fused=True
        )
    if recipe.optimizer == "muon":
        return Muon(weights, rate, recipe.momentum, decay)
    if recipe.optimizer == "adadelta":
        return torch.optim.Adadelta(weights, rate, weight_decay=decay)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, rate, weight_decay=decay, fused=True)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch, counted from 0: no epoch depends on the random state before it.

    So a run can stop after any epoch and go on later with exactly the numbers that it would have
    drawn. Different for every pair with less than 10,000 epochs.
    """
    return seed * 10_000 + epoch


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device to use: `auto` is CUDA, else MPS (Apple), else the CPU.

    Raises:
        RecipeError: there is no such device here.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
        if chosen.type == "meta":
            raise RuntimeError("meta holds no numbers")
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        name = str(device)
        raise RecipeError(f"no device {name!r} here: choose auto, cpu, cuda or mps") from error
    return chosen


def resolve_precision(precision: str, device: torch.device) -> str:
    """`float32` or `bfloat16`: under `auto`, bfloat16 where the hardware computes in it.

    On a CPU without those instructions bfloat16 is many times slower (pytorch issue 146508).
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = device.type == "cpu" and bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return "bfloat16" if fast else "float32"
