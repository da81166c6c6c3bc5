"""What breaks a model and what helps: the tables of notebook 08.

    python benchmarks/robustness.py [PART ...]

Rows go to mnist_helpers/results/robustness.csv. The parts: `corruptions` (test errors of
`two_conv`, of `robust`, and of `robust` without its augmentation, under the fifteen corruptions)
and `attacks` (test accuracy of `two_conv`, trained plainly and on attacked digits, under FGSM and
PGD); without one, both. Rows that the file has are not measured again, so a command that was
stopped goes on. The workers of a Dask cluster must find `tables`: start them with
`PYTHONPATH=benchmarks`.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import mnist_helpers as mh
import torch
from mnist_helpers import results
from tables import add_places, fitted, measure_missing, one_line_errors, one_of, positive

EPSILONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
# Small, so that it takes minutes: 20,000 digits, attacked by PGD with few steps.
HARDENED = mh.Recipe(epochs=4, batch_size=100, schedule="one_cycle", learning_rate=3e-3)
HARDENED_DIGITS, HARDENED_EPSILON, HARDENED_STEPS = 20_000, 0.2, 5


ROBUST = mh.ZOO["robust"]
MODELS = {
    "two_conv": mh.ZOO["two_conv"],
    "not augmented": replace(ROBUST, recipe=replace(ROBUST.recipe, augmentation="none")),
    "robust": ROBUST,
}


def corruption_rows(
    name: str, seed: int, train: mh.DigitSet, validation: mh.DigitSet, test: mh.DigitSet
) -> Iterator[dict[str, Any]]:
    """Train the model with that seed; its errors on clean and corrupted test digits."""
    entry = MODELS[name]
    model = entry.build(seed=seed)
    history = fitted(model, train, validation, replace(entry.recipe, seed=seed))
    accuracy = mh.loss_and_accuracy(model, test)[1]
    total = len(test)
    wrong = {"clean": round(total * (1 - accuracy))}
    table = mh.robustness.corruption_errors(model, test)
    wrong.update(zip(table["corruption"], table["errors"], strict=True))
    for corruption, errors in wrong.items():
        yield {
            "corruption": corruption,
            "errors": errors,
            "total": total,
            "train_seconds": round(history.seconds, 1),
        }


def attack_rows(
    name: str, seed: int, train: mh.DigitSet, _: mh.DigitSet, test: mh.DigitSet
) -> Iterator[dict[str, Any]]:
    """Train `two_conv`, plainly or on attacks; how many of 1,000 test digits survive attacks."""
    _, part = train.split(HARDENED_DIGITS, seed=seed)
    model = mh.ZOO["two_conv"].build(seed=seed)
    recipe = replace(HARDENED, seed=seed, keep="last")
    start = time.perf_counter()
    if name == "trained on attacks":
        mh.robustness.fit_adversarial(model, part, recipe, HARDENED_EPSILON, HARDENED_STEPS)
    else:
        fitted(model, part, part, recipe)
    seconds = time.perf_counter() - start
    _, test = test.split(1_000, seed=0)
    for epsilon in EPSILONS:
        for attack in (mh.robustness.fgsm, mh.robustness.pgd):
            torch.manual_seed(seed)
            changed = attack(model, test.images, test.labels, epsilon)
            right = (mh.predict_logits(model, changed).argmax(dim=1) == test.labels).sum()
            yield {
                "attack": attack.__name__,
                "epsilon": epsilon,
                "errors": len(test) - int(right),
                "total": len(test),
                "train_seconds": round(seconds, 1),
            }


PARTS = {
    "corruptions": (corruption_rows, tuple(MODELS)),
    "attacks": (attack_rows, ("plain", "trained on attacks")),
}


def rows_of(piece: dict[str, Any], *digits: mh.DigitSet) -> list[dict[str, Any]]:
    """The rows of one part, model and seed."""
    measure = PARTS[piece["part"]][0]
    machine = {"machine": mh.device.machine_name(torch.device("cpu")), **mh.versions()}
    return [{**row, **machine} for row in measure(piece["model"], piece["seed"], *digits)]


@one_line_errors()
def main() -> None:
    """Measure what is asked for and missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", type=one_of(PARTS), metavar="PART", default=list(PARTS))
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument("--out", type=Path, default=results.ROBUSTNESS)
    add_places(parser)
    options = parser.parse_args()
    digits = mh.load_mnist(source="mnist")
    plan = [
        {"part": part, "model": name, "seed": seed}
        for part in options.parts
        for seed, name in product(range(options.seeds), PARTS[part][1])
    ]
    sets = (*digits.train.split(1 / 12, seed=0), digits.test)
    places = {"jobs": options.jobs, "scheduler": options.scheduler}
    measure_missing(options.out, plan, rows_of, sets, **places)


if __name__ == "__main__":
    main()
