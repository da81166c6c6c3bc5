"""Every model by name, with the recipe that trains it (06_published_models.ipynb)."""

from collections.abc import Callable
from dataclasses import dataclass

from mnist_helpers import models
from mnist_helpers.models import DigitClassifier
from mnist_helpers.recipes import Recipe


@dataclass(frozen=True)
class ZooEntry:
    """A model and how to train it.

    Attributes:
        build: `build(seed=0)` gives a fresh model; equal seeds, equal weights.
        recipe: trains it.
        claim: what its source says it reaches on the test set.
        source: where model, recipe and claim come from, and what that leaves open.
    """

    build: Callable[..., DigitClassifier]
    recipe: Recipe
    claim: str
    source: str


ZOO = {
    "two_conv": ZooEntry(
        models.two_conv,
        Recipe(epochs=5, batch_size=64, optimizer="adam", learning_rate=1e-3),
        claim="98.9 % test accuracy",
        source="a published README: layers, Adam, batch 64 and 5 epochs; the learning rate is "
        "open there: Adam's default",
    ),
    "two_conv_dropout": ZooEntry(
        models.two_conv_dropout,
        Recipe(
            epochs=8,
            batch_size=128,
            optimizer="adamw",
            learning_rate=2e-3,
            weight_decay=1e-2,
            schedule="one_cycle",
        ),
        claim="99.3 % test accuracy, F1 0.993",
        source="a published README: two convolutions, pooling, one hidden layer, dropout; widths "
        "and recipe are open there: chosen on the validation set",
    ),
}
