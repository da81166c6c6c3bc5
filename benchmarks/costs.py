"""What augmentations cost beside the training of `three_conv`, and how long corruptions take.

python benchmarks/costs.py
"""

import argparse
import dataclasses
import statistics
import time

import mnist_helpers as mh
import torch
from tables import one_line_errors

ALL = "affine+elastic+erase+noise"


@one_line_errors()
def main() -> None:
    """Print the ratio of epochs with and without augmentation, in turns, and seconds."""
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    digits = mh.load_mnist(source="mnist")
    train, validation = digits.train.select(torch.arange(10_000)).split(1_000, seed=0)
    for augmentation in ("affine", "distort", ALL):
        ratios = []
        for _ in range(3):
            seconds = []
            for name in ("none", augmentation):
                entry = mh.ZOO["three_conv"]
                recipe = dataclasses.replace(entry.recipe, epochs=1, augmentation=name)
                history = mh.fit(entry.build(), train, validation, recipe, verbose=False)
                seconds.append(history.seconds)
            ratios.append(seconds[1] / seconds[0])
        print(f"three_conv with {augmentation}: {statistics.median(ratios):.2f} times as long")
    for name, corrupt in mh.robustness.CORRUPTIONS.items():
        start = time.perf_counter()
        corrupt(digits.test.images)
        print(f"{name}: {time.perf_counter() - start:.2f} s for {len(digits.test):,} digits")


if __name__ == "__main__":
    main()
