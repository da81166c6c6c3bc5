"""The published models under their own protocol, as far as it is known.

All 60,000 digits are learned from, in float32, with pixels scaled as the source does it (open for
`lenet`, here to [0, 1], and for `two_conv_dropout`, here normalised), and the weights of the last
epoch count. So nothing is chosen on validation digits, and the figures of validation are those of
5,000 digits that were learned from. What a source leaves open else is as in the zoo. Rows go to
mnist_helpers/results/own_protocol.csv; what stands there is not measured again.

    python benchmarks/own_protocol.py [MODEL ...] [--seeds 10]
"""

import argparse
from dataclasses import replace
from typing import Any

import mnist_helpers as mh
import torch
from mnist_helpers.models import DigitClassifier
from mnist_helpers.results import OWN_PROTOCOL as OUT
from mnist_helpers.study.run import COLUMNS
from tables import add_places, measure_missing, one_line_errors, one_of, own_protocol, positive


def scaled_lenet(seed: int = 0) -> DigitClassifier:
    """`lenet` with pixels in [0, 1]."""
    model = mh.ZOO["lenet"].build(seed=seed)
    model[0] = mh.Normalize(0.0, 1.0)
    return model


def own(name: str) -> mh.ZooEntry:
    """The model with its source's scaling, as long as its claim says; the last weights count."""
    entry = mh.ZOO[name]
    build = scaled_lenet if name == "lenet" else entry.build
    changes: dict[str, Any] = {
        "epochs": max(entry.claimed_epochs),
        "keep": "last",
        "precision": "float32",
    }
    return replace(entry, build=build, recipe=replace(entry.recipe, **changes))


def measure(piece: dict[str, Any], *sets: mh.DigitSet) -> list[dict[str, Any]]:
    """A row of a study."""
    return [mh.study.measure(own(piece["model"]), piece["seed"], *sets, "cpu")]


@one_line_errors()
def main() -> None:
    """Measure what is missing, and print what became of the claims."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "models", nargs="*", type=one_of(mh.PUBLISHED), default=list(mh.PUBLISHED), metavar="MODEL"
    )
    parser.add_argument("--seeds", type=positive, default=10)
    add_places(parser)
    options = parser.parse_args()
    digits = mh.load_mnist(source="mnist")
    plan = [
        {"model": name, "seed": seed, "source": digits.source}
        for seed in range(options.seeds)
        for name in options.models
    ]
    sets = (digits.train, digits.train.select(torch.arange(5_000)), digits.test)
    places = {"jobs": options.jobs, "scheduler": options.scheduler}
    measure_missing(OUT, plan, measure, sets, COLUMNS, **places)
    print(own_protocol())


if __name__ == "__main__":
    main()
