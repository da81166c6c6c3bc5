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
from typing import Any

import mnist_helpers as mh
import tables
import torch
from torch import Tensor, nn
from torch.nn import functional as F
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


def without_batch_norm(layers: list[nn.Module]) -> list[nn.Module]:
    """No batch norm; the layers before it get a bias of their own."""
    crop, normalize, relu, pool, flatten = (layers[index] for index in (0, 1, 4, 6, 9))
    return [
        *(crop, normalize, nn.Conv2d(1, 16, 5, stride=2), relu, nn.Conv2d(16, 32, 3), pool, relu),
        *(flatten, nn.Linear(512, 128), relu, layers[-1]),
    ]


def whole_image(layers: list[nn.Module]) -> list[nn.Module]:
    """No cropping: 28x28 gives 12x12, 10x10, 5x5."""
    return [*layers[1:10], nn.Linear(800, 128, bias=False), *layers[11:]]


def without_stride(layers: list[nn.Module]) -> list[nn.Module]:
    """The first convolution everywhere, then pooling, instead of every second place."""
    return [*layers[:2], nn.Conv2d(1, 16, 5, bias=False), nn.MaxPool2d(2), *layers[3:]]


def half_resolution(layers: list[nn.Module]) -> list[nn.Module]:
    """Average 2x2 pixels first, then a 3x3 convolution without a stride."""
    return [*layers[:2], nn.AvgPool2d(2), nn.Conv2d(1, 16, 3, bias=False), *layers[3:]]


def pool_last(layers: list[nn.Module]) -> list[nn.Module]:
    """Pool after normalising and ReLU, as is usual."""
    convolution, pool, normalize, relu = layers[5:9]
    return [*layers[:5], convolution, normalize, relu, pool, *layers[9:]]


def whitening(train: mh.DigitSet) -> Callable[[list[nn.Module]], list[nn.Module]]:
    """The first filters fixed: the principal directions of 5x5 patches, scaled to variance 1."""
    images = mh.Normalize()(train.images[:1_000, :, 2:-2, 2:-2])
    patches = images.unfold(2, 5, 1).unfold(3, 5, 1).reshape(-1, 25)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors[:, -8:] / (values[-8:] + 1e-2).sqrt()).T.reshape(8, 1, 5, 5)

    def change(layers: list[nn.Module]) -> list[nn.Module]:
        weight = layers[2].weight
        assert isinstance(weight, nn.Parameter)
        weight.data.copy_(torch.cat([filters, -filters]))
        weight.requires_grad_(False)
        return layers

    return change


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


def growing_batch() -> Race:
    """A first half of batches of 128, then batches of 512: two recipes, one after the other."""
    run = mh.speed.SpeedRun(FAST.build, FAST.recipe, "cpu")

    def race(train: mh.DigitSet, images: Tensor, seed: int) -> Tensor:
        run.trainer.restart(FAST.build(seed=seed).state_dict(), seed)
        run.model.train()
        total = FAST.recipe.epoch_size or len(train)
        generator, steps = torch.Generator().manual_seed(seed), total // 256
        order = torch.randperm(len(train), generator=generator)[:total]
        before = 0
        for size, half in ((128, order[: total // 2]), (512, order[total // 2 :])):
            for part in half.split(size):
                rate = mh.recipes.learning_rate_at(FAST.recipe, before // 256, steps)
                shifted = mh.augmentation.shift(train.images[part], generator)
                run.trainer.step(shifted, train.labels[part], rate)
                before += len(part)
        return mh.predict_logits(run.model, images).argmax(dim=1)

    return race


def ladder(train: mh.DigitSet) -> dict[str, Race]:
    """Rung by rung; each has the changes of those before it."""
    adam: dict[str, Any] = {"optimizer": "adamw", "momentum": 0.9, "augmentation": "none"}
    small: dict[str, Any] = {**adam, "epoch_size": None, "label_smoothing": 0.0}
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
        "batches of 256": with_fit("fast_99", **small, epochs=2, learning_rate=2e-2),
        "label smoothing; 1 epoch": with_fit(
            "fast_99", **{**small, "label_smoothing": 0.1}, learning_rate=2e-2
        ),
        "Muon; 0.6 epochs": with_fit("fast_99", augmentation="none", epoch_size=30_720),
        "shifted images": with_fit("fast_99"),
        "nothing but the steps (SpeedRun)": speed_run(),
    }


def alone(train: mh.DigitSet) -> dict[str, Race]:
    """The fast recipe, and what becomes of it when one thing is changed."""
    races = {
        "fast_99": speed_run(),
        "without shifts": speed_run(augmentation="none"),
        "without label smoothing": speed_run(label_smoothing=0.0),
        "label smoothing 0.2": speed_run(label_smoothing=0.2),
        "constant learning rate": speed_run(schedule="none", learning_rate=0.02),
        "cosine from the start": speed_run(schedule="cosine"),
        "learning rate 0.03": speed_run(learning_rate=0.03),
        "learning rate 0.12": speed_run(learning_rate=0.12),
        "momentum 0.9": speed_run(momentum=0.9),
        "batches of 128": speed_run(batch_size=128),
        "batches of 512": speed_run(batch_size=512),
        "batches of 128, then 512": growing_batch(),
        "float32": speed_run(precision="float32"),
        "without batch norm": speed_run(network(without_batch_norm)),
        "without cropping": speed_run(network(whole_image)),
        "pooling instead of the stride": speed_run(network(without_stride)),
        "half resolution instead of the stride": speed_run(network(half_resolution)),
        "pooling after batch norm and ReLU": speed_run(network(pool_last)),
        "fixed whitening filters first": speed_run(network(whitening(train))),
        "64 filters instead of 32": speed_run(mh.ZOO["fast_994"].build),
        "last layer by ridge regression": ridge_finish(),
    }
    for rate in (0.01, 0.02, 0.04):
        races[f"AdamW at {rate} instead of Muon"] = speed_run(optimizer="adamw", learning_rate=rate)
    return races


def steps(train: mh.DigitSet) -> dict[str, Race]:
    """The fast recipes as they are, and with fewer steps."""
    slow = mh.ZOO["fast_994"]
    races = {}
    for count in (110, 120):
        races[f"fast_99, {count} steps"] = speed_run(epoch_size=256 * count)
    for count in (220, 260):
        recipe = replace(slow.recipe, epoch_size=384 * count // 2)
        races[f"fast_994, {count} steps"] = mh.speed.SpeedRun(slow.build, recipe, "cpu").race
    return races


PARTS = {"ladder": ladder, "alone": alone, "steps": steps}


def main() -> None:
    """Run the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "parts", nargs="*", type=tables.one_of(PARTS), metavar="PART", default=list(PARTS)
    )
    parser.add_argument("--seeds", type=int, default=5)
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
