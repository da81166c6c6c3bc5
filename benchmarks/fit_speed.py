"""How much faster is fit() than the usual loop? One epoch of each published model.

The usual loop: torchvision's data set with ToTensor and Normalize, a DataLoader, the optimizer as
it comes, float32. Both train the same network with the same batch size on the same 55,000
digits; the accuracy on the other 5,000 shows that they learn the same. `fit` also validates on
these, on its clock. They take turns, each run in a process of its own, after a short run to warm
up; only ratios of one turn are compared. Rows go to mnist_helpers/results/speed.csv, table `fit`,
on a GPU `fit on cuda`.

    python benchmarks/fit_speed.py [MODEL ...] [--rounds 5] [--device cpu]
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import mnist_helpers as mh
import torch
from tables import device, fit_speed, measured, one_line_errors, one_of, positive
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms


def plain_epoch(model: nn.Module, recipe: mh.Recipe, dataset: Dataset[Any], seed: int) -> float:
    """Seconds for one epoch of the usual loop; `model` starts with its normalisation."""
    torch.manual_seed(seed)
    device = next(model.parameters()).device
    network = nn.Sequential(*list(model.children())[1:])  # the data is scaled already
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    loader = DataLoader(dataset, batch_size=recipe.batch_size, shuffle=True)
    start = time.perf_counter()
    network.train()
    for step, (images, labels) in enumerate(loader):
        optimizer.param_groups[0]["lr"] = mh.recipes.learning_rate_at(recipe, step, len(loader))
        optimizer.zero_grad()
        logits, smoothing = network(images.to(device)), recipe.label_smoothing
        loss = F.cross_entropy(logits, labels.to(device), label_smoothing=smoothing)
        loss.backward()
        optimizer.step()
    loss.item()  # a GPU has finished only now
    return time.perf_counter() - start


def measure(name: str, how: str, seed: int, device: str) -> dict[str, float]:
    """Seconds and accuracy of one epoch, `how` being `plain` or a precision of `fit`."""
    digits = mh.load_mnist(source="mnist")
    train, validation = digits.train.split(1 / 12, seed=0)
    entry = mh.ZOO[name]
    model = entry.build(seed=seed).to(device)
    if how == "plain":
        recipe, normalize = replace(entry.recipe, epochs=1), model[0]
        assert isinstance(normalize, mh.Normalize)
        scale = transforms.Normalize(normalize.mean.item(), normalize.std.item())
        steps = transforms.Compose([transforms.ToTensor(), scale])
        dataset = datasets.MNIST(mh.data.data_folder(), transform=steps)
        dataset.data, dataset.targets = train.images.squeeze(1), train.labels
        warm_up = Subset(dataset, range(20 * recipe.batch_size))
        plain_epoch(entry.build().to(device), recipe, warm_up, seed)
        seconds = plain_epoch(model, recipe, dataset, seed)
    else:
        recipe = replace(entry.recipe, epochs=1, precision=how, keep="last", seed=seed)
        short = replace(recipe, epoch_size=20 * recipe.batch_size)
        mh.fit(entry.build(), train, validation, short, device=device, verbose=False)
        start = time.perf_counter()
        mh.fit(model, train, validation, recipe, device=device, verbose=False)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": mh.loss_and_accuracy(model, validation)[1]}


@one_line_errors()
def main() -> None:
    """Measure in turn, print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    some = "default: all five; what is measured of some is printed, not kept"
    parser.add_argument("models", nargs="*", type=one_of(mh.PUBLISHED), metavar="MODEL", help=some)
    parser.add_argument("--rounds", type=positive, default=5, help="how often, with other seeds")
    parser.add_argument("--device", type=device, default="cpu")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, how, seed = options.one
        print(json.dumps(measure(name, how, int(seed), options.device)))
        return
    names = options.models or list(mh.PUBLISHED)
    ways = ["plain", "float32"]
    if mh.device.resolve_precision("auto", torch.device(options.device)) == "bfloat16":
        ways.append("bfloat16")
    rows = []
    for seed in range(options.rounds):
        for name in names:
            for how in ways:
                command = [sys.executable, __file__, "--one", name, how, str(seed)]
                command += ["--device", options.device]
                result = json.loads(subprocess.check_output(command, text=True))
                rows.append({"name": f"{name}, {how}", "seed": seed, **result})
                print(rows[-1], flush=True)
    table = "fit" if options.device == "cpu" else f"fit on {options.device}"
    if options.models:
        print("not kept: seconds of other models, of another day, would stand beside them")
        return
    measured(table, rows, options.device)
    print(f"{torch.get_num_threads()} threads, {mh.versions()}, {options.rounds} rounds")
    print(fit_speed(table))


if __name__ == "__main__":
    main()
