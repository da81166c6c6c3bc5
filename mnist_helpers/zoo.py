"""Every model by name, with the recipe that trains it (06_published_models.ipynb).

The first five are published systems, each known by its README. What a README leaves open is taken
from the project's own code, or as is usual, or was decided on validation: see benchmarks/README.md.
The others are ours: for speed (10_speed.ipynb), for accuracy and for smallness
(07_regularisation.ipynb), for corrupted digits (08_robustness.ipynb), and for other pens
(09_handwriting.ipynb).
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mnist_helpers import models
from mnist_helpers.certainty import fit_certainty
from mnist_helpers.data import Mnist
from mnist_helpers.models import DigitClassifier, count_parameters
from mnist_helpers.recipes import Recipe
from mnist_helpers.runs import RUN, load_run, read_run, save_run
from mnist_helpers.training import fit
from torch import nn


@dataclass(frozen=True)
class ZooEntry:
    """A model, how to train it, and what was claimed for it.

    Attributes:
        build: `build(seed=0)` gives a fresh model; equal seeds, equal weights.
        recipe: trains it.
        claim: what its source says it reaches on the test set.
        claimed_accuracy: the same as a fraction, 0 to 1; NaN without a claim.
        claims_more: it says "more than" that.
        claimed_epochs: after how many epochs it holds; empty without a claim.
        source: where model, recipe and claim come from, and what that leaves open.
    """

    build: Callable[..., DigitClassifier]
    recipe: Recipe
    claim: str = ""
    claimed_accuracy: float = math.nan
    claims_more: bool = False
    claimed_epochs: tuple[int, ...] = ()
    source: str = ""


# The five published models, by name; ZOO has ours as well.
PUBLISHED = {
    "lenet": ZooEntry(
        models.lenet,
        Recipe(epochs=5, batch_size=10, optimizer="adam", learning_rate=1e-3),
        claim="98.93 % test accuracy after 5 epochs",
        claimed_accuracy=0.9893, claimed_epochs=(5,),
        source="README of donneypr/mnist_cnn_pytorch: layers, Adam, 5 epochs. Scaling and batch "
        "size are open there (its log counts 1,200 batches and more an epoch, so at most 50 images "
        "each): chosen on the validation set. The learning rate, open too, is Adam's usual one: "
        "there no other was clearly better",
    ),
    "two_conv": ZooEntry(
        models.two_conv,
        Recipe(epochs=5, batch_size=64, optimizer="adam", learning_rate=1e-3),
        claim="98.9 % test accuracy after 5 epochs (training 99.7 %, validation 99.1 %)",
        claimed_accuracy=0.989, claimed_epochs=(5,),
        source="a published README: layers, scaling to [0, 1], Adam, batch 64, 5 epochs. The "
        "learning rate, open there, is Adam's usual one: on the validation set no other was "
        "clearly better",
    ),
    "two_conv_dropout": ZooEntry(
        models.two_conv_dropout,
        Recipe(
            epochs=8, batch_size=64, optimizer="adamw", learning_rate=3e-3, weight_decay=1e-2,
            schedule="one_cycle", label_smoothing=0.05,
        ),
        claim="99.3 % test accuracy, F1 0.993",
        claimed_accuracy=0.993, claimed_epochs=(8,),
        source="a published README: two convolutions, pooling, one hidden layer, dropout. All else "
        "is open there. Widths, scaling and batch are two_conv's or the usual ones; optimizer, "
        "learning rate, schedule and label smoothing were chosen on the validation set",
    ),
    "vgg": ZooEntry(
        models.vgg,
        Recipe(epochs=5, batch_size=128, optimizer="adam", learning_rate=1e-3),
        claim="more than 98 % test accuracy, about 99.3 % from epoch 2 of 5",
        claimed_accuracy=0.993, claimed_epochs=(2, 5),
        source="a published README: layers, normalisation, Adam at 0.001, batch 128, 5 epochs. "
        "The padding is open there, and follows from its number of parameters",
    ),
    "three_conv": ZooEntry(
        models.three_conv,
        Recipe(
            epochs=10, batch_size=128, optimizer="adam", learning_rate=5e-4, weight_decay=1e-4,
            schedule="step", step_size=5, gamma=0.5,
        ),
        claim="more than 99 % test accuracy within 5 epochs",
        claimed_accuracy=0.99, claims_more=True, claimed_epochs=(5,),
        source="README of Shadowsaber76/Classification-model-for-MNIST: layers, Adam at 0.0005, "
        "weight decay 1e-4, batch 128, 10 epochs, StepLR with gamma 0.5. Its notebook tells the "
        "rest: step size 5, pixels scaled to [-1, 1]",
    ),
}  # fmt: skip

# Ours have this in common. Tuned on validation digits only; benchmarks/ladder.py measures what each
# part of the fast ones brings.
_OURS = Recipe(
    optimizer="muon", momentum=0.7, schedule="one_cycle", label_smoothing=0.1, keep="last"
)
_FAST = replace(_OURS, schedule="linear", batch_size=640, learning_rate=0.09, augmentation="shift")

ZOO = {
    **PUBLISHED,
    "fast_99": ZooEntry(
        models.fast,
        replace(_FAST, epochs=1, epoch_size=37_120),
        source="made for speed, tuned on validation digits",
    ),
    "fast_994": ZooEntry(
        models.fast,
        replace(_FAST, epochs=2, epoch_size=52_480),
        source="fast_99 for longer, tuned on validation digits",
    ),
    "record": ZooEntry(
        models.record,
        replace(_OURS, epochs=28, batch_size=256, learning_rate=0.04, augmentation="distort"),
        source="made for accuracy, tuned on validation digits",
    ),
    "tiny": ZooEntry(
        models.tiny,
        replace(
            _OURS, epochs=30, batch_size=96, learning_rate=0.06, label_smoothing=0.03,
            augmentation="shift",
        ),
        source="made to be small, tuned on validation digits",
    ),
    "robust": ZooEntry(
        models.two_conv,
        Recipe(
            epochs=12, batch_size=128, learning_rate=0.003, schedule="one_cycle",
            augmentation="affine+erase+noise", keep="last",
        ),
        source="two_conv, made robust, tuned on corrupted validation digits",
    ),
    "pen": ZooEntry(
        models.fast,
        replace(_FAST, epochs=6, augmentation="affine+thickness"),
        source="fast_99 for other pens than MNIST's, seen to do no harm on validation digits",
    ),
}  # fmt: skip


def load_or_train(name: str, digits: Mnist, run_dir: str | Path) -> nn.Module:
    """The model `name` that was trained and saved in `run_dir`; else train it now, and say so.

    A saved run counts if it is finished and was made with today's recipe, on whatever data: give
    each data set a folder of its own. Training takes the
    training digits less one in twelve for validation, as 03_training.ipynb does.

    Raises:
        CheckpointError: the saved run is damaged, or the folder cannot be written.
    """
    entry = ZOO[name]
    model = entry.build(seed=entry.recipe.seed)
    if (Path(run_dir) / RUN).is_file():
        run = read_run(Path(run_dir))
        recipe = {**asdict(Recipe()), **(run.recipe or {})}  # an older run lacks newer fields
        same = (run.model, run.parameters) == (model.name, count_parameters(model))
        if run.finished and same and recipe == asdict(entry.recipe):
            return load_run(run_dir)[0]
    print(f"No model of this recipe in {run_dir} yet: training one first.")
    train, validation = digits.train.split(1 / 12, seed=0)
    history = fit(model, train, validation, entry.recipe)
    if not history.interrupted:
        certainty = fit_certainty(model, validation, train=train)
        save_run(run_dir, model, entry.recipe, None, history, certainty)
    return model
