"""All that has to be run on a GPU, in one command, without a network.

Meant to take less than 20 minutes. The tests that need a GPU; notebooks 01 to 05 and 10; the race,
with each step as a CUDA graph and layer by layer; `fit` against the usual loop; many seeds of one
model at once. A part that fails is named at the end, and the others go on. Needs the full MNIST
(MNIST_DATA_DIR). Rows, with the name of the device, go to mnist_helpers/results/speed.csv: tables
`race on cuda`, `cold on cuda`, `fit on cuda`, `graph on cuda` and `seeds on cuda`.

    python benchmarks/gpu.py [PART ...] [--seeds 30] [--device cuda]
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mnist_helpers as mh
import tables
import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

HERE = Path(__file__).parent


def run(*command: str) -> None:
    """Run a Python program; what it prints is shown."""
    subprocess.run([sys.executable, *command], check=True, cwd=HERE.parent)


def tests(device: str, seeds: int) -> None:
    """The tests; on a machine without a GPU those that need one are skipped."""
    options = ["-p", "no:nbval", "--import-mode=importlib", "-o", "addopts=", "-k", "gpu"]
    run("-m", "pytest", *options, "tests")


def notebooks(device: str, seeds: int) -> None:
    """They take the GPU by themselves."""
    run(*["-m", "mnist_helpers", "notebooks", "1", "2", "3", "4", "5", "10", "--out", "build/gpu"])


def race(device: str, seeds: int) -> None:
    """Ours, the record's recipe, and the usual script once."""
    script = str(HERE / "speed.py")
    run(script, "--seeds", str(seeds), "--plain-seeds", "1", "--device", device)


def fit(device: str, seeds: int) -> None:
    """One epoch with the usual loop and with `fit`."""
    run(str(HERE / "fit_speed.py"), "--rounds", "3", "--device", device)


def graph(device: str, seeds: int) -> None:
    """The race with the step as a graph, and layer by layer; how many answers differ."""
    digits, entry = mh.load_mnist(source="mnist"), mh.ZOO["fast_99"]
    run = mh.speed.SpeedRun(entry.build, entry.recipe, device)
    whole, rows = run.trainer, []
    hook = run.model.register_forward_hook(lambda *_: None)  # a graph would not repeat it
    layers = mh.trainer.Trainer(run.model, entry.recipe)
    hook.remove()
    answers: dict[str, Tensor] = {}
    for seed in range(-1, seeds):  # the first is thrown away
        for name, trainer in (("graph", whole), ("layer by layer", layers)):
            run.trainer = trainer
            start = time.perf_counter()
            answers[name] = run.race(digits.train, digits.test.images, seed % 1_000)
            row = {"name": name, "seed": seed, "seconds": time.perf_counter() - start}
            right = (answers[name] == digits.test.labels).float().mean().item()
            rows.append({**row, "accuracy": right})
        differ = int((answers["graph"] != answers["layer by layer"]).sum())
        print(f"seed {seed}: {differ} of 10,000 answers differ", flush=True)
    print(f"the step is {'a CUDA graph' if whole.captured else 'not captured'}")
    tables.measured(f"graph on {device}", rows[2:], device)
    print(tables.speed(f"graph on {device}").groupby("name")[["seconds", "accuracy"]].mean())


def seeds_at_once(device: str, seeds: int, steps: int = 100) -> None:
    """Steps of plain SGD on `two_conv`: so many models one after the other, and all by `vmap`."""
    models = [mh.ZOO["two_conv"].build(seed=seed).to(device) for seed in range(seeds)]
    images = torch.rand(64, 1, 28, 28, device=device)
    labels = torch.arange(64, device=device) % 10

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(models[0], (weights, buffers), (images,)), labels)

    def train(step: Callable[..., dict[str, Tensor]], weights: Any, buffers: Any) -> None:
        for _ in range(steps):
            gradients = step(weights, buffers)
            weights = {name: value - 0.01 * gradients[name] for name, value in weights.items()}
        sum(value.sum() for value in weights.values()).item()  # a GPU has finished only now

    def one_by_one() -> None:
        for model in models:
            train(grad(loss), dict(model.named_parameters()), dict(model.named_buffers()))

    ways: dict[str, Callable[[], None]] = {
        "one by one": one_by_one,
        "at once": partial(train, vmap(grad(loss)), *stack_module_state(models)),
    }
    rows = []
    for turn in range(-1, 3):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            row = {"name": f"{seeds} models, {name}", "seed": turn}
            rows.append({**row, "seconds": time.perf_counter() - start})
    tables.measured(f"seeds on {device}", rows[2:], device)
    print(tables.speed(f"seeds on {device}").groupby("name")["seconds"].median())


PARTS: dict[str, Callable[[str, int], None]] = {
    "tests": tests,
    "notebooks": notebooks,
    "race": race,
    "fit": fit,
    "graph": graph,
    "seeds": seeds_at_once,
}


def main() -> None:
    """Run the parts; the exit code is 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", type=tables.one_of(PARTS), metavar="PART")
    parser.add_argument("--seeds", type=tables.positive, default=30)
    parser.add_argument("--device", type=tables.device, default="cuda")
    options = parser.parse_args()
    failed = []
    for name in options.parts or PARTS:
        start = time.perf_counter()
        print(f"\n{name} ...", flush=True)
        try:
            PARTS[name](options.device, options.seeds)
        except Exception as error:  # the others shall still run
            print(f"{name} failed: {type(error).__name__}: {error}")
            failed.append(name)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all parts ran")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
