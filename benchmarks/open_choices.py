"""What the published READMEs leave open, decided on the validation set: the test set stays shut.

Each candidate is trained on 55,000 digits with several seeds; printed is the accuracy of its best
epoch on the 5,000 validation digits. README.md has the result, and what was taken. Rows go to
mnist_helpers/results/open_choices.csv; what stands there is not measured again.

    python benchmarks/open_choices.py [MODEL ...] [--seeds 5]
"""

import argparse
import dataclasses
import itertools
from typing import Any

import mnist_helpers as mh
from mnist_helpers.results import OPEN_CHOICES
from tables import (
    add_places,
    fitted,
    measure_missing,
    one_line_errors,
    one_of,
    open_choices,
    positive,
    where,
)

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


def candidates(name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """In words: the scaling, and what differs from the zoo's recipe."""
    return {
        ", ".join([scaling, *(f"{field} {value}" for field, value in changes.items())]): (
            scaling,
            changes,
        )
        for scaling, changes in itertools.product(*CANDIDATES[name])
    }


def validation_accuracy(
    piece: dict[str, Any], train: mh.DigitSet, validation: mh.DigitSet
) -> list[dict[str, Any]]:
    """Of the best epoch of one run."""
    name, seed = piece["model"], piece["seed"]
    scaling, changes = candidates(name)[piece["candidate"]]
    model = mh.ZOO[name].build(seed=seed)
    model[0] = mh.Normalize(*SCALINGS[scaling])
    recipe = dataclasses.replace(mh.ZOO[name].recipe, seed=seed, **changes)
    history = fitted(model, train, validation, recipe)
    best = max(record.validation_accuracy for record in history.epochs)
    return [{"accuracy": round(best, 5), **where()}]


@one_line_errors()
def main() -> None:
    """Train every candidate with every seed that is missing; print mean and spread."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "models", nargs="*", type=one_of(CANDIDATES), default=list(CANDIDATES), metavar="MODEL"
    )
    parser.add_argument("--seeds", type=positive, default=5)
    add_places(parser)
    options = parser.parse_args()
    sets = mh.load_mnist(source="mnist").train.split(1 / 12, seed=0)
    plan = [
        {"model": name, "candidate": what, "seed": seed}
        for seed, name in itertools.product(range(options.seeds), options.models)
        for what in candidates(name)
    ]
    places = {"jobs": options.jobs, "scheduler": options.scheduler}
    measure_missing(OPEN_CHOICES, plan, validation_accuracy, sets, **places)
    print(open_choices())


if __name__ == "__main__":
    main()
