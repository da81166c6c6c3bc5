"""Every model by name, with the recipe that trains it (06_published_models.ipynb)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from mnist_helpers import models
from mnist_helpers.checkpoints import RUN, load_run, save_run
from mnist_helpers.data import Mnist
from mnist_helpers.models import DigitClassifier
from mnist_helpers.recipes import Recipe
from mnist_helpers.training import fit


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
            batch_size=64,
            optimizer="adamw",
            learning_rate=3e-3,
            weight_decay=1e-2,
            schedule="one_cycle",
            label_smoothing=0.05,
        ),
        claim="99.3 % test accuracy, F1 0.993",
        source="a published README: two convolutions, pooling, one hidden layer, dropout; widths "
        "and recipe are open there: chosen on the validation set",
    ),
}


def load_or_train(name: str, digits: Mnist, run_dir: str | Path) -> nn.Module:
    """The model `name` that was trained and saved in `run_dir`; else train it now, and say so.

    A saved run counts if it is finished and was made with today's recipe. Training takes the
    training digits less one in twelve for validation, as 03_training.ipynb does.

    Raises:
        CheckpointError: the saved run is damaged, or the folder cannot be written.
    """
    entry = ZOO[name]
    if (Path(run_dir) / RUN).is_file():
        model, run = load_run(run_dir)
        if run.finished and run.model == name and run.recipe == asdict(entry.recipe):
            return model
    print(f"No model of this recipe in {run_dir} yet: training one first.")
    train, validation = digits.train.split(1 / 12, seed=0)
    model = entry.build(seed=entry.recipe.seed)
    history = fit(model, train, validation, entry.recipe)
    if not history.interrupted:
        save_run(run_dir, model, entry.recipe, None, history)
    return model
