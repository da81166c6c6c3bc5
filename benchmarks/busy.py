"""How fast is training beside other programs? What waiting threads do decides it.

PyTorch's threads wait for each other many times a step. GOMP_SPINCOUNT says how often one of them
looks, before it gives its core to others; 300,000 is the library's own default, and under
OMP_WAIT_POLICY=passive a thread gives it up at once. Each setting trains in a process of its own:
alone, then beside a process that only counts (`busy`), then beside another training with the same
setting (`twin`). The settings take turns. Seconds are those of one `fit` after a short one, of the
digits of an epoch below. Rows go to mnist_helpers/results/speed.csv, table `busy`.

    python benchmarks/busy.py [--rounds 3] [--settings 300000 2000] [--beside alone]

With other settings or conditions than all, the figures are printed, not kept.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import mnist_helpers as mh
import tables
import torch

DIGITS = {"fast_99": 30_720, "fast_994": 11_520, "two_conv": 6_400, "lenet": 2_000}
SETTINGS = ("300000", "0", "1000", "2000", "10000", "passive")
BESIDE = {"alone": "", "busy": "--count", "twin": "--twin"}


def spin_count(text: str) -> str:
    """A spin count, or passive."""
    if text != "passive" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a spin count nor passive")
    return text


def train(name: str, count: int) -> float:
    """Seconds of one `fit`."""
    digits, entry = mh.load_mnist(source="mnist").train, mh.ZOO[name]
    few, model = digits.select(torch.arange(64)), entry.build()
    recipe = replace(entry.recipe, epochs=1, epoch_size=count, keep="last")
    start = time.perf_counter()
    tables.fitted(model, digits, few, recipe)
    return time.perf_counter() - start


def measure() -> dict[str, float]:
    """Seconds of each model."""
    seconds = {}
    for name, count in DIGITS.items():
        train(name, 20 * mh.ZOO[name].recipe.batch_size)
        seconds[name] = train(name, count)
    return seconds


def environment(setting: str) -> dict[str, str]:
    """This process's own, with the setting in place of what it may have."""
    names = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    own = {name: value for name, value in os.environ.items() if name not in names}
    name = "OMP_WAIT_POLICY" if setting == "passive" else "GOMP_SPINCOUNT"
    return {**own, name: setting}


@contextmanager
def beside(what: str, setting: str) -> Iterator[None]:
    """Another process runs as long as the `with` does; it is ready when the body begins."""
    if not what:
        yield
        return
    command = [sys.executable, __file__, what]
    other = subprocess.Popen(command, env=environment(setting), stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        yield
    finally:
        other.kill()
        other.communicate()


def go_on(what: str) -> None:
    """Be the other process: count, or train, until killed."""
    if what == "twin":
        train("two_conv", 2_000)
    print("ready", flush=True)
    while True:
        if what == "twin":
            train("two_conv", 60_000)


@tables.one_line_errors()
def main() -> None:
    """Measure in turn, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=tables.positive, default=3)
    parser.add_argument("--settings", nargs="+", type=spin_count, default=SETTINGS)
    parser.add_argument("--beside", nargs="+", type=tables.one_of(BESIDE), default=list(BESIDE))
    for what in ("one", "count", "twin"):
        parser.add_argument(f"--{what}", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure()))
        return
    if options.count or options.twin:
        go_on("twin" if options.twin else "count")
    rows = []
    for number in range(options.rounds):
        for condition in options.beside:
            for setting in options.settings:
                command = [sys.executable, __file__, "--one"]
                with beside(BESIDE[condition], setting):
                    result = subprocess.check_output(command, env=environment(setting), text=True)
                for name, seconds in json.loads(result).items():
                    key = f"{name}, {condition}, {setting}"
                    rows.append({"name": key, "seed": number, "seconds": seconds})
                print(condition, setting, result, flush=True)
    if {*options.beside} != {*BESIDE} or {*options.settings} != {*SETTINGS}:
        print("not kept: seconds of other settings, of another day, would stand beside them")
        return
    tables.measured("busy", rows)
    print(tables.busy())


if __name__ == "__main__":
    main()
