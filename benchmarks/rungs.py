"""Which step brings what: mean images, a linear layer, a hidden layer, convolutions (notebook 02).

    python benchmarks/rungs.py [--seeds 3]

The four rungs have about 7,850 numbers each, and the trained ones one recipe (the rate of notebook
02, chosen on validation digits); a hidden layer ten times as wide stands beside them. Each is
tested on the 10,000 test digits, and on these moved by two pixels (the mean over left, right, up
and down). Then it is trained and tested once more on digits whose pixels are shuffled by one fixed
permutation. Rows go to mnist_helpers/results/rungs.csv; those that are there stay.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import mnist_helpers as mh
import torch
from mnist_helpers.results import RUNGS as RESULTS
from tables import fitted, one_line_errors, positive, rungs, where
from torch import nn

RECIPE = mh.Recipe(
    epochs=5, batch_size=64, optimizer="sgd", learning_rate=0.05, momentum=0.0, keep="last"
)


def hidden(units: int) -> list[nn.Module]:
    """One hidden layer."""
    return [nn.Flatten(), nn.Linear(784, units), nn.ReLU(), nn.Linear(units, 10)]


def convolutions() -> list[nn.Module]:
    """Two convolutions with pooling, then ten sums."""
    first = [nn.Conv2d(1, 11, 3), nn.MaxPool2d(2), nn.ReLU()]
    second = [nn.Conv2d(11, 22, 3), nn.MaxPool2d(2), nn.ReLU()]
    return [*first, *second, nn.Flatten(), nn.Linear(550, 10)]


MEANS = "mean images"
RUNGS: dict[str, Callable[[], list[nn.Module]]] = {
    "linear layer": lambda: [nn.Flatten(), nn.Linear(784, 10)],
    "hidden layer of 10": lambda: hidden(10),
    "convolutions": convolutions,
    "hidden layer of 100": lambda: hidden(100),
}


def mean_images(train: mh.DigitSet) -> nn.Module:
    """The linear layer whose largest sum belongs to the nearest mean image; nothing is trained."""
    masks = [train.labels == digit for digit in range(10)]
    means = torch.stack([train.images[mask].float().mean(dim=0).flatten() / 255 for mask in masks])
    layer = nn.Linear(784, 10)
    layer.weight.data, layer.bias.data = means, -means.square().sum(dim=1) / 2
    return nn.Sequential(mh.Normalize(0, 1), nn.Flatten(), layer)


def shuffled(digits: mh.DigitSet) -> mh.DigitSet:
    """The same digits, the pixels of each in one fixed other order."""
    order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
    images = digits.images.flatten(1)[:, order].reshape(-1, 1, 28, 28)
    return mh.DigitSet(images, digits.labels, digits.name)


def shifted(digits: mh.DigitSet) -> list[mh.DigitSet]:
    """The digits two pixels further left, right, up and down; what leaves the image is lost."""
    padded = nn.functional.pad(digits.images, (2, 2, 2, 2))
    windows = [(2, 4), (2, 0), (4, 2), (0, 2)]
    parts = [padded[..., row : row + 28, column : column + 28] for row, column in windows]
    return [mh.DigitSet(part, digits.labels, digits.name) for part in parts]


def accuracy(model: nn.Module, digits: mh.DigitSet) -> float:
    """The fraction of right answers."""
    return mh.loss_and_accuracy(model, digits)[1]


def learned(name: str, seed: int, train: mh.DigitSet, validation: mh.DigitSet) -> nn.Module:
    """The rung `name`, trained; the mean images need no training."""
    if name == MEANS:
        return mean_images(train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(mh.Normalize(), *RUNGS[name]())
    fitted(model, train, validation, replace(RECIPE, seed=seed))
    return model


def measure(name: str, seed: int, digits: mh.Mnist) -> dict[str, float]:
    """The numbers of one rung and one seed."""
    train, validation = digits.train.split(1 / 12, seed=0)
    model = learned(name, seed, train, validation)
    other = learned(name, seed, shuffled(train), shuffled(validation))
    moved = [accuracy(model, part) for part in shifted(digits.test)]
    return {
        "parameters": mh.count_parameters(model),
        "accuracy": accuracy(model, digits.test),
        "moved": round(sum(moved) / len(moved), 5),
        "shuffled": accuracy(other, shuffled(digits.test)),
    }


@one_line_errors()
def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=positive, default=3)
    seeds = range(parser.parse_args().seeds)
    digits, done = mh.load_mnist(source="mnist"), set()
    if RESULTS.exists():
        rows = mh.results.read_rows(RESULTS)
        done = set(zip(rows["rung"], rows["seed"], strict=True))
    for name in (MEANS, *RUNGS):
        for seed in seeds if name != MEANS else (0,):
            if (name, seed) not in done:
                row = {"rung": name, "seed": seed, **measure(name, seed, digits), **where()}
                mh.results.add_rows(RESULTS, [row])
                print(f"{name}, seed {seed}: {row['accuracy']:.2%}", flush=True)
    print(rungs())


if __name__ == "__main__":
    main()
