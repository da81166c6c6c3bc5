"""What fights overfitting: the study behind notebook 07.

    python benchmarks/regularisation.py [PART ...]

Rows go to mnist_helpers/results/regularisation.csv. The parts: `changes` (one change at a time
from `two_conv`, then combined), `small` (100, 1,000 and 10,000 training digits), `records`
(`record` and `tiny`); without one, all. Rows that the file has are not measured again, so a
command that was stopped goes on. Every run trains on digits of the 55,000, compares on 5,000
others, and keeps its last weights; the test set is opened afterwards.
"""

import argparse
import re
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import mnist_helpers as mh
import torch
from mnist_helpers import models
from mnist_helpers.study.run import COLUMNS
from tables import add_places, measure_missing, one_line_errors, one_of, positive

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
SIZES = (100, 1_000, 10_000)
PARTS = {
    "changes": list(CHANGES),
    "small": [
        f"{change}, {size} digits"
        for size, change in product(
            SIZES, ("plain", "dropout", "batch norm", "distort", "combined")
        )
    ],
    "records": ["record", "tiny"],
}


def measure(
    piece: dict[str, Any], train: mh.DigitSet, validation: mh.DigitSet, test: mh.DigitSet
) -> list[dict[str, Any]]:
    """A row of a study: `record`, `tiny`, a change, or a change with few digits.

    The few are drawn anew for each seed, and repeated until there are 10,000, so that every run
    takes as many steps.
    """
    name, size = re.fullmatch(r"(.+?)(?:, (\d+) digits)?", piece["model"]).groups()  # type: ignore[union-attr]
    if size:
        _, few = train.split(int(size), seed=piece["seed"])
        train = few.select(torch.arange(max(SIZES)) % len(few))
    entry = CHANGES.get(name) or mh.ZOO[name]
    return [mh.study.measure(entry, piece["seed"], train, validation, test, "cpu")]


@one_line_errors()
def main() -> None:
    """Measure what is asked for and missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", type=one_of(PARTS), metavar="PART", default=list(PARTS))
    parser.add_argument("--out", type=Path, default=mh.results.REGULARISATION)
    parser.add_argument("--seeds", type=positive, default=10, help="`small`: half as many draws")
    add_places(parser)
    options = parser.parse_args()
    digits = mh.load_mnist(source="mnist")
    plan = [
        {"model": name, "seed": seed, "source": digits.source}
        for part in options.parts
        for seed, name in product(range(options.seeds), PARTS[part])
        if part != "small" or seed < (options.seeds + 1) // 2
    ]
    sets = (*digits.train.split(1 / 12, seed=0), digits.test)
    places = {"jobs": options.jobs, "scheduler": options.scheduler}
    measure_missing(options.out, plan, measure, sets, COLUMNS, **places)


if __name__ == "__main__":
    main()
