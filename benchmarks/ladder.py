"""From the usual loop to the fast one, idea by idea; then each part of the fast one alone.

Accuracies are those of 10,000 training digits held out for validation, learned from the other
50,000: all choices were made on them. Seconds run from the uint8 digits in memory to the
predictions. Within a table the entries take turns, in one process, each after a throw-away run;
freed memory is kept for all of them. In the ladder, learning rate and epochs were set anew for
each idea.
Rows go to mnist_helpers/results/speed.csv, tables `ladder`, `alone` and `steps`.

    python benchmarks/ladder.py [ladder] [alone] [steps] [--seeds 5]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import mnist_helpers as mh
import tables
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

Race = Callable[[mh.DigitSet, Tensor, int], Tensor]
FAST = mh.ZOO["fast_99"]


def usual_loop(train: mh.DigitSet, images: Tensor, seed: int) -> Tensor:
    """`two_conv` as most scripts train it: image by image through a DataLoader, five epochs."""
    torch.manual_seed(seed)
    dataset = datasets.MNIST(mh.data.data_folder(), transform=transforms.ToTensor())
    dataset.data, dataset.targets = train.images.squeeze(1), train.labels
    model = mh.ZOO["two_conv"].build(seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(5):
        for batch, labels in DataLoader(dataset, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(batch), labels).backward()
            optimizer.step()
    return mh.predict_logits(model, images).argmax(dim=1)


def with_fit(name: str, build: Callable[..., nn.Module] | None = None, **changes: Any) -> Race:
    """A model of the zoo by `fit`, its recipe changed; 64 digits to validate on."""
    entry = mh.ZOO[name]

    def race(train: mh.DigitSet, images: Tensor, seed: int) -> Tensor:
        recipe = replace(entry.recipe, **{"keep": "last", "seed": seed, **changes})
        model = (build or entry.build)(seed=seed)
        few = train.select(torch.arange(64))
        tables.fitted(model, train, few, recipe)
        return mh.predict_logits(model, images).argmax(dim=1)

    return race


def speed_run(build: Callable[..., nn.Module] = FAST.build, **changes: Any) -> Race:
    """The fast recipe, changed, without what `fit` does besides."""
    return mh.speed.SpeedRun(build, replace(FAST.recipe, **changes), "cpu").race


def network(change: Callable[[list[nn.Module]], list[nn.Module]]) -> Callable[..., nn.Module]:
    """A builder of the fast network with its list of layers changed."""

    def build(seed: int = 0) -> nn.Module:
        layers = list(FAST.build(seed=seed).children())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(*change(layers))

    return build


def before(seed: int = 0) -> nn.Module:
    """The network of `fast_99` before this one: more places, pooling, batch norm everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(mh.models.Crop(2), mh.Normalize(), nn.Conv2d(1, 16, 5, stride=2, bias=False)),
            *(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, bias=False), nn.MaxPool2d(2)),
            *(nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 128, bias=False)),
            *(nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10)),
        )


def without_batch_norm(layers: list[nn.Module]) -> list[nn.Module]:
    """No batch norm; the layer before it gets a bias."""
    return [*layers[:7], nn.Linear(800, 128), *layers[9:]]


def more_batch_norm(layers: list[nn.Module]) -> list[nn.Module]:
    """After each convolution too."""
    return [*layers[:3], nn.BatchNorm2d(24), *layers[3:5], nn.BatchNorm2d(32), *layers[5:]]


def whole_image(layers: list[nn.Module]) -> list[nn.Module]:
    """No cropping: 28x28 gives 8x8, 6x6."""
    return [*layers[1:7], nn.Linear(1152, 128, bias=False), *layers[8:]]


def stride_of_two(layers: list[nn.Module]) -> list[nn.Module]:
    """A 5x5 convolution at every second place, then pooling: 10x10, 8x8, 4x4."""
    first, pool = nn.Conv2d(1, 24, 5, stride=2), nn.MaxPool2d(2)
    return [*layers[:2], first, *layers[3:5], pool, *layers[5:7], nn.Linear(512, 128), *layers[8:]]


def half_resolution(layers: list[nn.Module]) -> list[nn.Module]:
    """Average 2x2 pixels first, then a 3x3 convolution without a stride: 12x12, 10x10, pool 5x5."""
    first, pool = nn.Conv2d(1, 24, 3, padding=1), nn.MaxPool2d(2)
    return [*layers[:2], nn.AvgPool2d(2), first, *layers[3:5], pool, *layers[5:]]


def filters(first: int, second: int) -> Callable[[list[nn.Module]], list[nn.Module]]:
    """So many filters in the two convolutions."""

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        one, two = nn.Conv2d(1, first, 6, stride=3), nn.Conv2d(first, second, 3)
        hidden = nn.Linear(25 * second, 128, bias=False)
        return [*layers[:2], one, layers[3], two, *layers[5:7], hidden, *layers[8:]]

    return change


def usual_flatten(layers: list[nn.Module]) -> list[nn.Module]:
    """Flatten filter by filter, which copies."""
    return [*layers[:6], nn.Flatten(), *layers[7:]]


def whitening(train: mh.DigitSet) -> Callable[[list[nn.Module]], list[nn.Module]]:
    """The first filters fixed: the principal directions of 6x6 patches, scaled to variance 1."""
    images = mh.Normalize()(train.images[:1_000, :, 2:-2, 2:-2])
    patches = images.unfold(2, 6, 1).unfold(3, 6, 1).reshape(-1, 36)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    best = (vectors[:, -12:] / (values[-12:] + 1e-2).sqrt()).T.reshape(12, 1, 6, 6)

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        weight = layers[2].weight
        assert isinstance(weight, nn.Parameter)
        weight.data.copy_(torch.cat([best, -best]))
        weight.requires_grad_(False)
        return layers

    return change


def muon_rounds(rounds: int) -> Race:
    """Muon with more rounds of its polynomial, or fewer."""
    race = speed_run()
    changed = partial(mh.muon.orthogonalized, rounds=rounds)

    def with_rounds(train: mh.DigitSet, images: Tensor, seed: int) -> Tensor:
        with mock.patch.object(mh.muon, "orthogonalized", changed):
            return race(train, images, seed)

    return with_rounds


def ridge_finish() -> Race:
    """The usual race, then the last layer anew, in closed form, on 20,000 digits' features."""
    run = mh.speed.SpeedRun(FAST.build, FAST.recipe, "cpu")

    def race(train: mh.DigitSet, images: Tensor, seed: int) -> Tensor:
        run.race(train, images[:1], seed)
        body = nn.Sequential(*list(run.model.children())[:-1])
        features = mh.predict_logits(body, train.images[:20_000])
        targets = F.one_hot(train.labels[:20_000], 10).float()
        mean, means = features.mean(dim=0), targets.mean(dim=0)
        centred = features - mean
        gram = centred.T @ centred + 10.0 * torch.eye(features.shape[1])
        weights = torch.linalg.solve(gram, centred.T @ (targets - means))
        return ((mh.predict_logits(body, images) - mean) @ weights + means).argmax(dim=1)

    return race


def by_hand(sizes: tuple[int, int] = (640, 640), averaged: int = 0) -> Race:
    """Two halves with batches of their own, then the mean of the last weights."""
    run = mh.speed.SpeedRun(FAST.build, FAST.recipe, "cpu")
    usual = FAST.recipe.batch_size

    def race(train: mh.DigitSet, images: Tensor, seed: int) -> Tensor:
        run.trainer.restart(FAST.build(seed=seed).state_dict(), seed)
        run.model.train()
        generator = torch.Generator().manual_seed(seed)
        total = min(FAST.recipe.epoch_size or 0, len(train))
        order = torch.randperm(len(train), generator=generator)[:total].split(total // 2)
        parts = [part for half, size in zip(order, sizes, strict=True) for part in half.split(size)]
        seen, mean = 0, AveragedModel(run.model)
        for index, part in enumerate(parts):
            rate = mh.recipes.learning_rate_at(FAST.recipe, seen // usual, total // usual)
            shifted = mh.augmentation.shift(train.images[part], generator)
            run.trainer.step(shifted, train.labels[part], rate)
            seen += len(part)
            if index >= len(parts) - averaged:
                mean.update_parameters(run.model)
        return mh.predict_logits(mean.module if averaged else run.model, images).argmax(dim=1)

    return race


def ladder(train: mh.DigitSet) -> dict[str, Race]:
    """Rung by rung; each has the changes of those before it."""
    adam: dict[str, Any] = {"optimizer": "adamw", "momentum": 0.9, "augmentation": "none"}
    small: dict[str, Any] = {**adam, "epoch_size": None, "label_smoothing": 0.0}
    larger = {"batch_size": 256, "learning_rate": 2e-2}
    return {
        "the usual loop, 5 epochs": usual_loop,
        "whole batches from memory (fit)": with_fit("two_conv", precision="float32"),
        "bfloat16": with_fit("two_conv"),
        "rate up, then down to 0; 2 epochs": with_fit(
            "two_conv", optimizer="adamw", schedule="one_cycle", learning_rate=3e-3, epochs=2
        ),
        "small network: crop, stride, batch norm": with_fit(
            "fast_99", **small, epochs=2, batch_size=64, learning_rate=1e-2
        ),
        "batches of 256": with_fit("fast_99", **{**small, **larger}, epochs=2),
        "label smoothing; 1 epoch": with_fit(
            "fast_99", **{**small, **larger, "label_smoothing": 0.1}
        ),
        "Muon, batches of 640; 0.7 epochs": with_fit("fast_99", augmentation="none"),
        "shifted images": with_fit("fast_99"),
        "nothing but the steps (SpeedRun)": speed_run(),
    }


def alone(train: mh.DigitSet) -> dict[str, Race]:
    """The fast recipe, and what becomes of it when one thing is changed."""
    races = {
        "fast_99": speed_run(),
        "the recipe before this one": speed_run(
            *(before,), schedule="one_cycle", learning_rate=0.06, batch_size=256, epoch_size=30_720
        ),
        "without shifts": speed_run(augmentation="none"),
        "without label smoothing": speed_run(label_smoothing=0.0),
        "label smoothing 0.2": speed_run(label_smoothing=0.2),
        "constant learning rate": speed_run(schedule="none", learning_rate=0.02),
        "cosine up and down": speed_run(schedule="one_cycle"),
        "cosine from the start": speed_run(schedule="cosine"),
        "learning rate 0.06": speed_run(learning_rate=0.06),
        "learning rate 0.14": speed_run(learning_rate=0.14),
        "momentum 0.6": speed_run(momentum=0.6),
        "momentum 0.8": speed_run(momentum=0.8),
        "batches of 320": speed_run(batch_size=320),
        "batches of 1280": speed_run(batch_size=1_280),
        "batches of 320, then 1280": by_hand((320, 1_280)),
        "mean of the last 5 steps' weights": by_hand(averaged=5),
        "float32": speed_run(precision="float32"),
        "without batch norm": speed_run(network(without_batch_norm)),
        "batch norm after convolutions too": speed_run(network(more_batch_norm)),
        "without cropping": speed_run(network(whole_image)),
        "stride 2 and pooling instead of stride 3": speed_run(network(stride_of_two)),
        "half resolution instead of the stride": speed_run(network(half_resolution)),
        "fixed whitening filters first": speed_run(network(whitening(train))),
        "16 and 32 filters": speed_run(network(filters(16, 32))),
        "32 and 32 filters": speed_run(network(filters(32, 32))),
        "24 and 64 filters": speed_run(network(filters(24, 64))),
        "the usual Flatten": speed_run(network(usual_flatten)),
        "Muon with 2 rounds": muon_rounds(2),
        "Muon with 5 rounds": muon_rounds(5),
        "last layer by ridge regression": ridge_finish(),
    }
    for rate in (0.01, 0.02, 0.04):
        races[f"AdamW at {rate} instead of Muon"] = speed_run(optimizer="adamw", learning_rate=rate)
    return races


def steps(train: mh.DigitSet) -> dict[str, Race]:
    """The fast recipes as they are, and with fewer steps."""
    races = {}
    for name, counts in (("fast_99", (54, 58)), ("fast_994", (150, 164))):
        entry = mh.ZOO[name]
        for count in counts:
            size = entry.recipe.batch_size * count // entry.recipe.epochs
            recipe = replace(entry.recipe, epoch_size=size)
            steps = recipe.epochs * recipe.epoch_of(len(train))[1]
            races[f"{name}, {steps} steps"] = mh.speed.SpeedRun(entry.build, recipe, "cpu").race
    return races


PARTS = {"ladder": ladder, "alone": alone, "steps": steps}


@tables.one_line_errors()
def main() -> None:
    """Run the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "parts", nargs="*", type=tables.one_of(PARTS), metavar="PART", default=list(PARTS)
    )
    parser.add_argument("--seeds", type=tables.positive, default=5)
    options = parser.parse_args()
    train, validation = mh.load_mnist(source="mnist").train.split(10_000, seed=0)
    warm_up = train.select(torch.arange(2_000))
    for table in options.parts:
        races = PARTS[table](train)
        for race in races.values():
            race(warm_up, validation.images[:1_000], 1_000)
        rows = []
        for seed in range(options.seeds):
            for name, race in races.items():
                start = time.perf_counter()
                predictions = race(train, validation.images, seed)
                seconds = time.perf_counter() - start
                accuracy = (predictions == validation.labels).float().mean().item()
                rows.append({"name": name, "seed": seed, "seconds": seconds, "accuracy": accuracy})
                print(f"{name}, seed {seed}: {accuracy:.2%}, {seconds:.2f} s", flush=True)
        tables.measured(table, rows)
        print(f"\n{mh.versions()}\n{tables.validation(table)}\n")


if __name__ == "__main__":
    main()
