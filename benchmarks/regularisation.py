"""What fights overfitting: the study behind notebook 07.

    python benchmarks/regularisation.py [PART ...]

Rows go to mnist_helpers/results/regularisation.csv. The parts: `changes` (one change at a time
from `two_conv`, then combined), `small` (100, 1,000 and 10,000 training digits), `records`
(`record` and `tiny`); without one, all. Rows that the file has are not measured again, so a
command that was stopped goes on. Every run trains on digits of the 55,000, compares on 5,000
others, and keeps its last weights; the test set is opened afterwards.
"""

import argparse
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import mnist_helpers as mh
import torch
from mnist_helpers import models
from mnist_helpers.study.run import COLUMNS
from tables import add_places, one_line_errors, one_of, positive

PLAIN = mh.Recipe(epochs=6, batch_size=128, optimizer="adam", learning_rate=1e-3, keep="last")
TWO_CONV = partial(mh.ZooEntry, source="two_conv, with one change")
CHANGES = {
    "plain": TWO_CONV(models.two_conv, PLAIN),
    "cosine schedule": TWO_CONV(models.two_conv, replace(PLAIN, schedule="cosine")),
    "SGD": TWO_CONV(
        models.two_conv, replace(PLAIN, optimizer="sgd", learning_rate=0.05, momentum=0.0)
    ),
    "SGD, momentum": TWO_CONV(
        models.two_conv, replace(PLAIN, optimizer="sgd", learning_rate=0.05, momentum=0.9)
    ),
    "weight decay": TWO_CONV(models.two_conv, replace(PLAIN, optimizer="adamw", weight_decay=0.1)),
    "label smoothing": TWO_CONV(models.two_conv, replace(PLAIN, label_smoothing=0.1)),
    "dropout": TWO_CONV(partial(models.two_conv, dropout=True), PLAIN),
    "batch norm": TWO_CONV(partial(models.two_conv, batch_norm=True), PLAIN),
    **{
        name: TWO_CONV(models.two_conv, replace(PLAIN, augmentation=name))
        for name in ("shift", "affine", "elastic", "distort", "erase", "noise")
    },
    # What helped alone on validation: of the augmentations the best, and label smoothing.
    "combined": TWO_CONV(
        models.two_conv, replace(PLAIN, augmentation="distort", label_smoothing=0.1)
    ),
}
PARTS = ("changes", "small", "records")
SMALL = ("plain", "dropout", "batch norm", "distort", "combined")
SIZES = (100, 1_000, 10_000)


def few_digits(
    run: tuple[str, int, int], train: mh.DigitSet, validation: mh.DigitSet, test: mh.DigitSet
) -> dict[str, Any]:
    """Train with a change on few digits, drawn anew for each seed.

    The few are repeated until there are 10,000, so that every run takes as many steps.
    """
    change, size, seed = run
    _, few = train.split(size, seed=seed)
    repeated = few.select(torch.arange(max(SIZES)) % size)
    return mh.study.measure(CHANGES[change], seed, repeated, validation, test)


def small_sets(digits: mh.Mnist, out: Path, seeds: int, **places: Any) -> None:
    """The runs on few digits that `out` lacks."""
    done: set[tuple[str, int]] = set()
    if out.exists():
        frame = mh.study.read_study(out)
        done = set(zip(frame["model"], frame["seed"], strict=True))
    plan = product(SMALL, SIZES, range(seeds))
    missing = [run for run in plan if (f"{run[0]}, {run[1]} digits", run[2]) not in done]
    parts = (*digits.train.split(1 / 12, seed=0), digits.test)
    for (change, size, seed), row in mh.study.side_by_side(few_digits, missing, parts, **places):
        name = f"{change}, {size} digits"
        row = {"model": name, "seed": seed, "source": digits.source, **row}
        mh.results.add_rows(out, [row], COLUMNS)
        print(f"{name}, seed {seed}: test accuracy {row['test_accuracy']:.2%}", flush=True)


@one_line_errors()
def main() -> None:
    """Measure what is asked for and missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", type=one_of(PARTS), metavar="PART", default=list(PARTS))
    parser.add_argument("--out", type=Path, default=mh.results.REGULARISATION)
    parser.add_argument(
        "--seeds", type=positive, default=5, help="`tiny`: twice as many, `small` at most three"
    )
    add_places(parser)
    options = parser.parse_args()
    places = {"jobs": options.jobs, "scheduler": options.scheduler}
    digits = mh.load_mnist(source="mnist")
    for part in options.parts:
        if part == "changes":
            mh.study.run_study(CHANGES, range(options.seeds), digits, options.out, **places)
        elif part == "small":
            small_sets(digits, options.out, min(options.seeds, 3), **places)
        else:
            for name, seeds in (("record", options.seeds), ("tiny", 2 * options.seeds)):
                mh.study.run_study(
                    {name: mh.ZOO[name]}, range(seeds), digits, options.out, **places
                )


if __name__ == "__main__":
    main()
