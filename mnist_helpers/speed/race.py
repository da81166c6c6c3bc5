"""How fast can a model be trained? A race without what `fit` does besides (10_speed.ipynb)."""

from collections.abc import Callable

import torch
from mnist_helpers.data import DigitSet
from mnist_helpers.device import resolve_device
from mnist_helpers.evaluation import lay_out, predict_logits
from mnist_helpers.recipes import Recipe
from mnist_helpers.trainer import Trainer, check_finite
from mnist_helpers.training import check_sizes
from torch import Tensor, nn


class SpeedRun:
    """A model and its recipe, made ready to train again and again from fresh weights.

    Slow preparations (on a GPU, capturing the training step as a CUDA graph) happen here, not in
    the races. A race takes the steps of `fit`, without validation, history and checkpoints: on the
    CPU it ends with the same weights, bit for bit.

    Args:
        build: `build(seed=...)` gives a fresh model.
        recipe: how to train; its last weights are taken, whatever it keeps.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Attributes:
        trainer: takes the steps; `trainer.captured`: as a CUDA graph.
        model: holds the weights of the last race, in evaluation mode.
    """

    def __init__(
        self, build: Callable[..., nn.Module], recipe: Recipe, device: str | torch.device = "auto"
    ) -> None:
        self.build, self.recipe, self.device = build, recipe, resolve_device(device)
        self.model = build(seed=recipe.seed)
        lay_out(self.model, self.device)
        self.trainer = Trainer(self.model, recipe)
        if self.device.type == "cuda":
            size = recipe.batch_size
            images = torch.zeros(size, 1, 28, 28, dtype=torch.uint8, device=self.device)
            self.trainer.capture(images, torch.zeros(size, dtype=torch.int64, device=self.device))

    def race(self, train: DigitSet, images: Tensor, seed: int) -> Tensor:
        """Train from fresh weights, then predict.

        Args:
            train: what to learn from; it may lie in the memory of the computer.
            images: uint8 `[N, 1, 28, 28]`, to be read after the training.
            seed: of the weights, the order of the images and their shifts.

        Returns:
            The predicted digits, int64 `[N]`, on the CPU.

        Raises:
            TrainingDiverged: a loss is NaN or infinite; on a GPU, the last one.
            ValueError: there is no digit to learn from.
            RecipeError: a batch would hold one image where batch normalisation needs two.
        """
        check_sizes(self.model, train, self.recipe)
        train = train.to(self.device)
        self.trainer.restart(self.build(seed=seed).state_dict(), seed)
        for epoch in range(self.recipe.epochs):
            loss = self.trainer.epoch(train, epoch)
        at_a_time = 10_000 if self.device.type == "cuda" else 1_000  # each wait for a GPU costs
        predictions = predict_logits(self.model, images, at_a_time).argmax(dim=1)
        check_finite(loss.item(), self.recipe, "the last step")
        return predictions
