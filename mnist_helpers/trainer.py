"""The training step: every training in this package takes it (03_training.ipynb)."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from mnist_helpers.augmentation import augment
from mnist_helpers.data import DigitSet
from mnist_helpers.device import keep_freed_memory, resolve_precision, seed_all
from mnist_helpers.models import count_multiply_adds
from mnist_helpers.recipes import (
    Recipe,
    epoch_seed,
    learning_rate_at,
    make_optimizer,
    set_learning_rate,
)
from torch import Tensor, nn
from torch.nn import functional as F


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite; the message names epoch, step and the mend."""


class Trainer:
    """A model and its recipe, ready to train.

    The model is trained where it is, so move it first. On CUDA the step of a model whose layers are
    PyTorch's or this package's is recorded as one graph, where that works: launching it layer by
    layer takes longer than computing it. On Linux the process keeps freed memory from now on; see
    `keep_freed_memory`.

    Args:
        model: images `[N, 1, 28, 28]` in, logits `[N, 10]` out.
        recipe: how to train. `patience` and `keep` are for those who call `epoch`.
        change: a last change of each batch, after the augmentation: images and labels in, images
            out; for example an attack.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        change: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        keep_freed_memory()
        self.model, self.recipe, self.change = model, recipe, change
        self.optimizer = make_optimizer(model, recipe)
        self.device = next(model.parameters()).device
        self.precision = _precision(model, recipe, self.device)
        self._graph: Any = None
        self._capture_next = self.device.type == "cuda" and _is_plain(model)

    @property
    def captured(self) -> bool:
        """Whether the step is a CUDA graph; if not, it runs layer by layer, to the same result."""
        return self._graph is not None

    def epoch(
        self,
        train: DigitSet,
        number: int,
        after_step: Callable[[Tensor, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Train for one epoch, counted from 0; the caller's random state (CPU, CUDA) is left alone.
        The model is in evaluation mode afterwards, also where training fails.

        Args:
            train: what to learn from, on the model's device.
            number: with the recipe's seed it decides every draw, so no epoch depends on another.
            after_step: called with the labels of the batch, and the logits `[N, 10]` and the loss
                that it had before the step.

        Returns:
            The last step's loss, on the device.

        Raises:
            TrainingDiverged: on the CPU, as soon as a loss is NaN or infinite, and before it
                changes a weight. Elsewhere each look at a loss costs: look at it afterwards.
        """
        recipe, loss = self.recipe, torch.zeros(())
        size, steps = recipe.epoch_of(len(train))
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=devices),
            torch.cuda.device(self.device if devices else -1),
        ):
            generator = seed_all(epoch_seed(recipe.seed, number), self.device)
            self.model.train()
            batches = train.batches(recipe.batch_size, generator, size)
            try:
                for index, (images, labels) in enumerate(batches):
                    images = augment(images, recipe.augmentation)
                    if self.change is not None:
                        images = self.change(images, labels)
                    rate = learning_rate_at(recipe, number * steps + index, steps)
                    place = f"epoch {number + 1}, step {index + 1}"
                    logits, loss = self.step(images, labels, rate, place)
                    if after_step is not None:
                        after_step(labels, logits, loss)
            finally:
                self.model.eval()
        return loss

    def step(
        self, images: Tensor, labels: Tensor, learning_rate: float, where: str = "the step"
    ) -> tuple[Tensor, Tensor]:
        """Change the weights once; logits, float32 `[N, 10]`, and loss are those before it.

        Raises:
            TrainingDiverged: see `epoch`; it names `where`.
        """
        if self._capture_next and len(labels) == self.recipe.batch_size:
            self.capture(images, labels)
        set_learning_rate(self.optimizer, learning_rate)
        if not self.captured or (images.shape, images.dtype) != self._form:
            return self._compute(images, labels, where)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._results[0].clone(), self._results[1].clone()

    def _compute(self, images: Tensor, labels: Tensor, where: str = "") -> tuple[Tensor, Tensor]:
        smoothing = self.recipe.label_smoothing
        logits, loss = forward_and_loss(self.model, images, labels, smoothing, self.precision)
        if self.device.type == "cpu":
            check_finite(loss.item(), self.recipe, where)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return logits.detach(), loss.detach()

    def restart(self, weights: dict[str, Tensor], seed: int) -> None:
        """Fresh weights and another seed; an optimizer without memory, in the same tensors."""
        self.model.load_state_dict(weights)
        self.recipe = replace(self.recipe, seed=seed)
        for part in self._memory():
            part.zero_()

    def capture(self, images: Tensor, labels: Tensor) -> None:
        """Record the step on CUDA for batches of this form; model and optimizer stay as they are.

        Where it cannot be recorded, a warning says so, and steps run layer by layer.
        """
        self._capture_next = False
        self.model.train()
        weights = copy_weights(self.model)
        memory = {id(part): part.clone() for part in self._memory()}
        try:
            with torch.cuda.device(self.device), torch.random.fork_rng(devices=[self.device]):
                self._record(images, labels)
        finally:
            self.model.load_state_dict(weights)
            for part in self._memory():
                before = memory.get(id(part))
                part.zero_() if before is None else part.copy_(before)

    def _memory(self) -> list[Tensor]:
        """What the optimizer remembers."""
        states = self.optimizer.state.values()
        return [part for state in states for part in state.values() if isinstance(part, Tensor)]

    def _record(self, images: Tensor, labels: Tensor) -> None:
        """Take a few steps on tensors that stay, then record one."""
        self._form = images.shape, images.dtype
        self._images, self._labels = images.clone(), labels.clone()
        set_learning_rate(self.optimizer, self.recipe.learning_rate)
        side, usual = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(usual)
        with torch.cuda.stream(side):
            for _ in range(3):  # the first steps allocate memory and choose kernels
                self._compute(self._images, self._labels)
        usual.wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._results = self._compute(self._images, self._labels)
        except RuntimeError as error:
            torch.cuda.set_stream(usual)  # a failed capture may leave its own stream current
            warnings.warn(f"no CUDA graph, steps run layer by layer: {error}", stacklevel=4)
            return
        self._graph = graph


def _is_plain(model: nn.Module) -> bool:
    """Whether nothing but computing happens in a forward pass: a graph repeats nothing else."""
    return all(
        type(layer).__module__.startswith(("torch.nn.", "mnist_helpers."))
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        for layer in model.modules()
    )


def forward_and_loss(
    model: nn.Module, images: Tensor, labels: Tensor, label_smoothing: float, precision: str
) -> tuple[Tensor, Tensor]:
    """Logits, float32 `[N, 10]`, and their cross-entropy, as a training step needs them.

    In `bfloat16` the layers compute in it (autocast), and the weights stay float32. The cross-
    entropy is always computed in float32.
    """
    # No cache: each weight is used once a step, and CUDA graphs must not find an old copy.
    with torch.autocast(
        images.device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False
    ):
        logits = model(images)
    logits = logits.float()
    return logits, F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _precision(model: nn.Module, recipe: Recipe, device: torch.device) -> str:
    """The recipe's; where `auto` finds bfloat16 on a CPU, float32 if a step has little to do.

    Of a step's time little is then arithmetic. Measured: at 2 million multiply-adds a step
    (`lenet`, batch 10) float32 is faster; from 168 million on (`two_conv`, batch 64), bfloat16 is.
    """
    precision = resolve_precision(recipe.precision, device)
    if precision == recipe.precision or device.type != "cpu" or not _is_plain(model):
        return precision
    small = recipe.batch_size * count_multiply_adds(model) < 20_000_000
    return "float32" if small else precision


def check_finite(loss: float, recipe: Recipe, where: str) -> None:
    """TrainingDiverged if the loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"the loss is {loss} in {where}: try a smaller learning rate than "
            f"{recipe.learning_rate:g}, or look for broken images"
        )


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights and buffers as they are now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
