"""The published models under their own protocol, as far as it is known.

All 60,000 digits are learned from, in float32, with pixels scaled as the source does it (to [0, 1]
where that is open), and the weights of the last epoch count. So nothing is chosen on validation
digits, and the figures of validation are those of 5,000 digits that were learned from. What a
source leaves open else is as in the zoo. Rows go to mnist_helpers/results/own_protocol.csv; what
stands there is not measured again.

    python benchmarks/own_protocol.py [MODEL ...] [--seeds 10]
"""

import argparse
from dataclasses import replace
from typing import Any

import mnist_helpers as mh
import torch
from mnist_helpers.models import DigitClassifier
from mnist_helpers.study.run import COLUMNS
from tables import add_places, one_line_errors, one_of, positive

OUT = mh.results.FOLDER / "own_protocol.csv"


def scaled_lenet(seed: int = 0) -> DigitClassifier:
    """`lenet` with pixels in [0, 1]."""
    model = mh.ZOO["lenet"].build(seed=seed)
    model[0] = mh.Normalize(0.0, 1.0)
    return model


def own(name: str) -> mh.ZooEntry:
    """The model with its source's scaling; the last weights count."""
    entry = mh.ZOO[name]
    build = scaled_lenet if name == "lenet" else entry.build
    return replace(
        entry, build=build, recipe=replace(entry.recipe, keep="last", precision="float32")
    )


def measure(
    run: tuple[str, int], train: mh.DigitSet, part: mh.DigitSet, test: mh.DigitSet
) -> dict[str, Any]:
    """A row of a study."""
    name, seed = run
    return mh.study.measure(own(name), seed, train, part, test, "cpu")


@one_line_errors()
def main() -> None:
    """Measure what is missing, and print means and prediction intervals."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "models", nargs="*", type=one_of(mh.PUBLISHED), default=list(mh.PUBLISHED), metavar="MODEL"
    )
    parser.add_argument("--seeds", type=positive, default=10)
    add_places(parser)
    options = parser.parse_args()
    digits = mh.load_mnist(source="mnist")
    done: set[tuple[str, int]] = set()
    if OUT.exists():
        frame = mh.study.read_study(OUT)
        done = set(zip(frame["model"], frame["seed"], strict=True))
    plan = [(name, seed) for seed in range(options.seeds) for name in options.models]
    missing = [run for run in plan if run not in done]
    part = digits.train.select(torch.arange(5_000))
    sets = (digits.train, part, digits.test)
    places = {"jobs": options.jobs, "scheduler": options.scheduler}
    for (name, seed), row in mh.study.side_by_side(measure, missing, sets, device="cpu", **places):
        row = {"model": name, "seed": seed, "source": digits.source, **row}
        mh.results.add_rows(OUT, [row], COLUMNS)
        print(f"{name}, seed {seed}: test accuracy {row['test_accuracy']:.2%}", flush=True)


if __name__ == "__main__":
    main()
