"""How much faster is fit() than the plain loop? One epoch of `two_conv`, batch 64, Adam.

The plain loop is the usual script: torchvision's data set with ToTensor and Normalize, a
DataLoader, float32. Both train the same network on the same digits, in turn, in one process, so
the ratio holds on a machine whose speed drifts.

    python benchmarks/fit_speed.py [--rounds 3]
"""

import argparse
import dataclasses
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

import mnist_helpers as mh


def plain_epoch(dataset: Subset) -> float:
    """Seconds for one epoch of the usual loop."""
    torch.manual_seed(0)
    model = nn.Sequential(*list(mh.ZOO["two_conv"].build(seed=0))[1:])  # the DataLoader normalises
    optimizer = torch.optim.Adam(model.parameters())
    loader = DataLoader(dataset, batch_size=64, shuffle=True)
    start = time.perf_counter()
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def fit_epoch(train: mh.DigitSet, precision: str) -> float:
    """Seconds for one epoch of fit(), with its checks and a validation of 64 digits."""
    entry = mh.ZOO["two_conv"]
    recipe = dataclasses.replace(entry.recipe, epochs=1, precision=precision)
    start = time.perf_counter()
    validation = train.select(torch.arange(64))
    mh.fit(entry.build(seed=0), train, validation, recipe, device="cpu", verbose=False)
    return time.perf_counter() - start


def main() -> None:
    """Measure in turn, print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    rounds = parser.parse_args().rounds
    train = mh.load_mnist(source="mnist").train
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.0, 1.0)])
    plain_set = datasets.MNIST(mh.data_folder(), train=True, transform=transform)
    precisions = ["float32"]
    if mh.resolve_precision("auto", torch.device("cpu")) == "bfloat16":
        precisions.append("bfloat16")
    for precision in precisions:
        fit_epoch(train.select(torch.arange(6_400)), precision)  # warm up
    print(f"{torch.get_num_threads()} threads, {mh.versions()}, {rounds} rounds")
    times: dict[str, list[float]] = {name: [] for name in ("plain", *precisions)}
    for _ in range(rounds):
        times["plain"].append(plain_epoch(plain_set))
        for precision in precisions:
            times[precision].append(fit_epoch(train, precision))
    for name, seconds in times.items():
        ratios = [p / s for p, s in zip(times["plain"], seconds, strict=True)]
        print(
            f"{name:>9}: median {statistics.median(seconds):5.1f} s an epoch, plain / this "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
