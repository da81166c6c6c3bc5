"""99 % within a second on two CPU cores: two small networks, and how to race (10_speed.ipynb).

`fit` trains them like any other model. `SpeedRun` does the same steps without what a race does not
need (validation, history, checkpoints), and on a GPU launches each step as one CUDA graph.
"""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_helpers.augmentation import augment
from mnist_helpers.data import DigitSet
from mnist_helpers.evaluation import predict_logits
from mnist_helpers.memory import keep_freed_memory
from mnist_helpers.models import Crop, Normalize, digit_model
from mnist_helpers.recipes import (
    Recipe,
    epoch_seed,
    learning_rate_at,
    make_optimizer,
    resolve_device,
    resolve_precision,
)
from mnist_helpers.training import (
    TrainingDiverged,
    check_last_batch,
    forward_and_loss,
    seed_all,
)

# What the scripts in benchmarks/ measured: a row for each run, told apart by `table` and `name`.
SPEED_CSV = Path(__file__).with_name("speed.csv")


def _fast_layers(filters: int) -> list[nn.Module]:
    """Two convolutions and a hidden layer. Pooling comes before normalising, which leaves a
    quarter of the work.
    """
    return [
        *(Crop(2), Normalize()),
        *(nn.Conv2d(1, 16, 5, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, filters, 3, bias=False), nn.MaxPool2d(2)),
        *(nn.BatchNorm2d(filters), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(filters * 16, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()),
        nn.Linear(128, 10),
    ]


@digit_model
def fast_99() -> list[nn.Module]:
    """The fast network, for 99 %; 72,186 parameters.

    Shapes: 1x24x24 (cropped) -> 16x10x10 -> 32x8x8 -> pool 32x4x4 -> 512 -> 128 -> 10.
    `seed` decides the initial weights.
    """
    return _fast_layers(filters=32)


@digit_model
def fast_994() -> list[nn.Module]:
    """The fast network with twice as many filters, for 99.4 %; 142,394 parameters.

    Shapes: 1x24x24 (cropped) -> 16x10x10 -> 64x8x8 -> pool 64x4x4 -> 1024 -> 128 -> 10.
    `seed` decides the initial weights.
    """
    return _fast_layers(filters=64)


# Tuned on validation digits only: benchmarks/README.md tells how, benchmarks/ladder.py measures
# what each part brings.
FAST_99 = Recipe(
    epochs=1,
    epoch_size=30_720,
    batch_size=256,
    optimizer="muon",
    learning_rate=0.06,
    momentum=0.7,
    schedule="one_cycle",
    augmentation="shift",
    label_smoothing=0.1,
    keep="last",
)
FAST_994 = Recipe(
    epochs=2,
    epoch_size=49_920,
    batch_size=384,
    optimizer="muon",
    learning_rate=0.06,
    momentum=0.7,
    schedule="one_cycle",
    augmentation="shift",
    label_smoothing=0.1,
    keep="last",
)


class SpeedRun:
    """A model and its recipe, made ready to train again and again from fresh weights.

    Slow preparations (on a GPU, capturing the training step as a CUDA graph) happen here, not in
    the races. A race does the steps of `fit`: on the CPU it ends with the same weights, bit for
    bit. On Linux the process keeps freed memory from now on; see `keep_freed_memory`.

    Args:
        build: `build(seed=...)` gives a fresh model.
        recipe: how to train; its last weights are taken, whatever it keeps.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Attributes:
        model: holds the weights of the last race, in evaluation mode.
    """

    def __init__(
        self, build: Callable[..., nn.Module], recipe: Recipe, device: str | torch.device = "auto"
    ) -> None:
        keep_freed_memory()
        self.build, self.recipe, self.device = build, recipe, resolve_device(device)
        self.precision = resolve_precision(recipe.precision, self.device)
        model = build(seed=recipe.seed)
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.model, recipe)
        self._graph: Any = None
        if self.device.type == "cuda" and recipe.optimizer == "muon":
            with torch.cuda.device(self.device):
                self._capture()

    @property
    def captured(self) -> bool:
        """Whether the step is a CUDA graph; if not, it runs layer by layer, to the same result."""
        return self._graph is not None

    def race(self, train: DigitSet, images: Tensor, seed: int) -> Tensor:
        """Train from fresh weights, then predict.

        Args:
            train: what to learn from; it may lie in the memory of the computer.
            images: uint8 `[N, 1, 28, 28]`, to be read after the training.
            seed: of the weights, the order of the images and their shifts.

        Returns:
            The predicted digits, int64 `[N]`, on the CPU.

        Raises:
            TrainingDiverged: the last loss is NaN or infinite.
            ValueError: there is no digit to learn from.
            RecipeError: a batch would hold one image where batch normalisation needs two.
        """
        if not len(train):
            raise ValueError("train must hold at least one digit")
        recipe, train = self.recipe, train.to(self.device)
        size = min(recipe.epoch_size or len(train), len(train))
        check_last_batch(self.model, size, recipe.batch_size)
        self._restart(seed)
        steps = -(-size // recipe.batch_size)
        loss = torch.zeros(())
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            for epoch in range(recipe.epochs):
                order = seed_all(epoch_seed(seed, epoch), self.device)
                batches = train.batches(recipe.batch_size, order, size)
                for index, (batch, labels) in enumerate(batches):
                    self._set_rate(learning_rate_at(recipe, epoch * steps + index, steps))
                    loss = self._step(augment(batch, recipe.augmentation), labels)
        self.model.eval()
        at_a_time = 10_000 if self.device.type == "cuda" else 1_000  # each wait for a GPU costs
        predictions = predict_logits(self.model, images, at_a_time).argmax(dim=1)
        if not math.isfinite(loss.item()):
            raise TrainingDiverged(f"the loss is {loss.item()}: try a smaller learning rate")
        return predictions

    def _restart(self, seed: int) -> None:
        """Fresh weights and an optimizer without memory, in the tensors that the graph knows."""
        self.model.load_state_dict(self.build(seed=seed).state_dict())
        self.model.train()
        for state in self.optimizer.state.values():
            for memory in state.values():
                memory.zero_()

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step; its loss stays on the device."""
        if self._graph is None or len(labels) != self.recipe.batch_size:
            return self._eager_step(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._loss

    def _eager_step(self, images: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.recipe.label_smoothing
        _, loss = forward_and_loss(self.model, images, labels, smoothing, self.precision)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _capture(self) -> None:
        """Record the step on fixed tensors, if this GPU can: launching it layer by layer takes
        longer than computing it.
        """
        size = self.recipe.batch_size
        self._images = torch.zeros(size, 1, 28, 28, dtype=torch.uint8, device=self.device)
        self._labels = torch.zeros(size, dtype=torch.int64, device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = torch.tensor(0.0, device=self.device)
        side, usual = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(usual)
        with torch.cuda.stream(side):
            for _ in range(3):  # the first steps allocate memory and choose kernels
                self._eager_step(self._images, self._labels)
        usual.wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._loss = self._eager_step(self._images, self._labels)
        except RuntimeError as error:
            torch.cuda.set_stream(usual)  # a failed capture may leave its own stream current
            warnings.warn(f"no CUDA graph, steps run layer by layer: {error}", stacklevel=4)
            return
        self._graph = graph
