"""What the published READMEs leave open, decided on the validation set: the test set stays shut.

Each candidate is trained on 55,000 digits with several seeds; printed is the accuracy of its best
epoch on the 5,000 validation digits. README.md has the result, and what was taken. Rows go to
mnist_helpers/results/open_choices.csv; what stands there is not measured again.

    python benchmarks/open_choices.py [MODEL ...] [--seeds 3]
"""

import argparse
import dataclasses
import itertools
from typing import Any

import mnist_helpers as mh
from mnist_helpers.results import OPEN_CHOICES
from tables import fitted, one_of, open_choices, positive, where

SCALINGS = {"scaled to [0, 1]": (0.0, 1.0), "normalised": (0.1307, 0.3081)}
# Model -> (the scalings, what differs from the zoo's recipe).
CANDIDATES: dict[str, tuple[list[str], list[dict[str, Any]]]] = {
    "lenet": (
        list(SCALINGS),
        [
            {"batch_size": size, "learning_rate": rate}
            for size, rate in (
                *((10, 0.0005), (10, 0.001), (50, 0.001), (50, 0.002)),
                *((100, 0.001), (100, 0.002), (100, 0.003)),
            )
        ],
    ),
    "two_conv": (
        ["scaled to [0, 1]"],
        [{"learning_rate": rate} for rate in (0.0005, 0.001, 0.002)],
    ),
    "two_conv_dropout": (
        ["normalised"],
        [
            {"optimizer": "adam", "schedule": "none", "learning_rate": 0.001, "weight_decay": 0.0},
            {"learning_rate": 0.001},
            {"learning_rate": 0.003},
            {"learning_rate": 0.003, "label_smoothing": 0.1},
        ],
    ),
}


def validation_accuracy(
    name: str, scaling: str, changes: dict[str, Any], seed: int, digits: mh.DigitSet
) -> float:
    """Of the best epoch of one run."""
    train, validation = digits.split(1 / 12, seed=0)
    model = mh.ZOO[name].build(seed=seed)
    model[0] = mh.Normalize(*SCALINGS[scaling])
    recipe = dataclasses.replace(mh.ZOO[name].recipe, seed=seed, **changes)
    history = fitted(model, train, validation, recipe)
    return max(record.validation_accuracy for record in history.epochs)


def main() -> None:
    """Train every candidate with every seed that is missing; print mean and spread."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "models", nargs="*", type=one_of(CANDIDATES), default=list(CANDIDATES), metavar="MODEL"
    )
    parser.add_argument("--seeds", type=positive, default=3)
    options = parser.parse_args()
    digits = mh.load_mnist(source="mnist").train
    done: set[tuple[str, str, int]] = set()
    if OPEN_CHOICES.exists():
        rows = mh.results.read_rows(OPEN_CHOICES)
        done = set(zip(rows["model"], rows["candidate"], rows["seed"], strict=True))
    for name in options.models:
        for scaling, changes in itertools.product(*CANDIDATES[name]):
            what = ", ".join([scaling, *(f"{field} {value}" for field, value in changes.items())])
            for seed in range(options.seeds):
                if (name, what, seed) not in done:
                    accuracy = round(validation_accuracy(name, scaling, changes, seed, digits), 5)
                    row = {"model": name, "candidate": what, "seed": seed, "accuracy": accuracy}
                    mh.results.add_rows(OPEN_CHOICES, [{**row, **where()}])
                    print(f"{name}: {what}, seed {seed}: {accuracy:.2%}", flush=True)
    print(open_choices())


if __name__ == "__main__":
    main()
