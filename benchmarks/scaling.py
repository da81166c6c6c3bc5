"""Does the cost of training grow in proportion to the data? One epoch of `fast_994`, up to 600,000.

The larger sets are MNIST's training digits over and over, each copy shifted at random. Every size
runs in a process of its own, after a short run to warm up. Memory is the peak of the process, above
what it had before the set was made; so the set itself is in it. Rows go to
mnist_helpers/results/speed.csv, table `scaling`.

    python benchmarks/scaling.py [--rounds 3]
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mnist_helpers as mh
import torch
from tables import measured, one_line_errors, positive, scaling

SIZES = (60_000, 120_000, 240_000, 480_000, 600_000)


def enlarged(digits: mh.DigitSet, size: int) -> mh.DigitSet:
    """`size` digits: the set repeated, each copy shifted by up to two pixels."""
    images, generator = torch.empty(size, 1, 28, 28, dtype=torch.uint8), torch.Generator()
    for start in range(0, size, 10_000):
        chosen = torch.arange(start, min(start + 10_000, size)) % len(digits)
        images[start : start + 10_000] = mh.augmentation.shift(
            digits.images[chosen], generator, pixels=2
        )
    return mh.DigitSet(images, digits.labels.repeat(-(-size // len(digits)))[:size], "repeated")


def memory(name: str) -> int:
    """Bytes of this process (Linux): `VmRSS`, what it has; `VmHWM`, the most since the reset."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def measure(size: int) -> dict[str, float]:
    """Seconds of one epoch, and memory in units of the uint8 set."""
    entry = mh.ZOO["fast_994"]
    recipe = replace(entry.recipe, epochs=1, epoch_size=None)
    count = 20 * recipe.batch_size
    blank = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    blank_digits = mh.DigitSet(blank, torch.arange(count) % 10)
    mh.fit(entry.build(), blank_digits, blank_digits, recipe, device="cpu", verbose=False)
    digits = mh.load_mnist(source="mnist").train
    few = digits.select(torch.arange(1_000))
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    train = enlarged(digits, size)
    start = time.perf_counter()
    mh.fit(entry.build(), train, few, recipe, device="cpu", verbose=False)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory": (memory("VmHWM") - before) / train.images.nbytes}


@one_line_errors()
def main() -> None:
    """Measure in turn, print seconds, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    rows = []
    for seed in range(options.rounds):
        for size in SIZES:
            command = [sys.executable, __file__, "--one", str(size)]
            result = json.loads(subprocess.check_output(command, text=True))
            rows.append({"name": str(size), "seed": seed, **result})
    measured("scaling", rows)
    print(scaling())


if __name__ == "__main__":
    main()
