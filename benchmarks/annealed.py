"""Would another schedule reach the claims? The published recipes, with `one_cycle`.

Networks, epochs and batches stay as published; the learning rate rises to 0.003 and falls to
nothing, as in the recipe of `two_conv_dropout`. This one alternative was fixed beforehand: nothing
is chosen by its test scores. Rows go to a CSV file; what stands there is not measured again.

    python benchmarks/annealed.py [MODEL ...] [--seeds 5] [--out FILE]
"""

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path

import mnist_helpers as mh
from tables import add_places, one_line_errors, one_of, positive


@one_line_errors()
def main() -> None:
    """Run the study and print the claims' table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "models", nargs="*", type=one_of(mh.ZOO), default=["lenet", "vgg"], metavar="MODEL"
    )
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument("--out", type=Path, default=mh.results.ANNEALED)
    add_places(parser)
    options = parser.parse_args()
    places = {"jobs": options.jobs, "scheduler": options.scheduler}
    entries = {}
    for name in options.models:
        recipe = replace(mh.ZOO[name].recipe, schedule="one_cycle", learning_rate=3e-3)
        entries[name] = replace(mh.ZOO[name], recipe=recipe)
    digits = mh.load_mnist(source="mnist")
    seeds = range(options.seeds)
    runs = mh.study.run_study(entries, seeds, digits, options.out, **places)
    if {*product(entries, seeds)} - {*zip(runs["model"], runs["seed"], strict=True)}:
        raise KeyboardInterrupt  # it was stopped
    print(mh.study.claims_table(runs))


if __name__ == "__main__":
    main()
