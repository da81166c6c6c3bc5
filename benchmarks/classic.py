"""What a user would pick instead of a network: accuracy, seconds and memory of classic methods.

Each method runs in a process of its own, on all cores (the SVM can use one). One parameter of each
is chosen on 5,000 validation digits, learning from 5,000 of the other 55,000 (k-NN: from all of
them); the rest was set by hand. Then the method learns from the 55,000, and reads the test set
once. Memory is the peak of the process above what it had with the digits. The networks have fixed
recipes. Rows go to mnist_helpers/results/speed.csv, table `classic`.

    python benchmarks/classic.py [METHOD ...]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import mnist_helpers as mh
import numpy as np
import tables
import torch
from scaling import memory
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from torch import Tensor
from torch.nn import functional as F

CHOICE_DIGITS = 5_000


def pixels(images: Tensor) -> np.ndarray:
    """Float32 `[N, 784]` in [0, 1]."""
    return images.flatten(1).float().div(255).numpy()


def deskewed(images: Tensor) -> np.ndarray:
    """The pixels of `upright`."""
    return np.concatenate([upright(some).flatten(1).numpy() for some in images.split(1_000)])


def upright(images: Tensor) -> Tensor:
    """Digits set upright and in the middle: rows are moved by the moments of the ink.

    Float32 `[N, 1, 28, 28]` in [0, 1].
    """
    ink = images.float().div(255)
    rows = torch.arange(28.0) - 13.5
    mass = ink.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    y = (ink.sum(dim=3).squeeze(1) * rows).sum(dim=1) / mass
    x = (ink.sum(dim=2).squeeze(1) * rows).sum(dim=1) / mass
    dy = rows.view(1, 28, 1) - y.view(-1, 1, 1)
    dx = rows.view(1, 1, 28) - x.view(-1, 1, 1)
    weights = ink.squeeze(1) / mass.view(-1, 1, 1)
    shear = (weights * dy * dx).sum(dim=(1, 2)) / (weights * dy**2).sum(dim=(1, 2)).clamp(min=1e-6)
    # Where each pixel of the upright digit comes from, in units of half an image.
    theta = torch.zeros(len(ink), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    theta[:, 0, 1], theta[:, 0, 2], theta[:, 1, 2] = shear, x / 14, y / 14
    grid = F.affine_grid(theta, [len(ink), 1, 28, 28], align_corners=False)
    return F.grid_sample(ink, grid, align_corners=False)


class RandomConvolutions:
    """Filters that are whitened patches of upright training digits; ReLU; means over a 4x4 grid.

    Nothing is learned but the mean and the whitening of patches (Coates, Lee and Ng, AISTATS 2011,
    compare such features).
    """

    def __init__(self, images: Tensor, count: int = 100, size: int = 9, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        some = images[torch.randperm(len(images), generator=generator)[:5_000]]
        patches = F.unfold(upright(some), size).transpose(1, 2).reshape(-1, size * size)
        patches = patches[patches.std(dim=1) > 0.1]
        patches = patches[torch.randperm(len(patches), generator=generator)[:50_000]]
        self.mean = patches.mean(dim=0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - self.mean).T))
        whiten = vectors @ torch.diag((values + 0.01 * values.max()).rsqrt()) @ vectors.T
        chosen = F.normalize((patches[:count] - self.mean) @ whiten, dim=1) @ whiten
        self.filters = chosen.view(count, 1, size, size)
        self.bias = -(chosen @ self.mean)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Float32 `[N, 32 * count]`: what fits a filter, and what is its opposite."""
        parts = []
        for batch in images.split(500):
            found = F.conv2d(upright(batch), self.filters, self.bias)
            both = torch.cat([F.relu(found - 0.25), F.relu(-found - 0.25)], dim=1)
            parts.append(F.adaptive_avg_pool2d(both, 4).flatten(1))
        return torch.cat(parts)


class Ridge:
    """Least squares to ten targets of 0 and 1, with a penalty, by normal equations."""

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def fit(self, features: Tensor, labels: np.ndarray) -> "Ridge":
        """Solve for the weights."""
        self.mean, self.scale = features.mean(dim=0), features.std(dim=0) + 1e-3
        scaled = (features - self.mean).div_(self.scale)
        gram = scaled.T @ scaled
        gram.diagonal().add_(self.penalty * len(features))
        targets = F.one_hot(torch.from_numpy(labels), 10).float()
        self.offset = targets.mean(dim=0)
        right = scaled.T @ (targets - self.offset)
        self.weights = torch.cholesky_solve(right, torch.linalg.cholesky(gram))
        return self

    def predict(self, features: Tensor) -> np.ndarray:
        """The digits."""
        scaled = (features - self.mean).div_(self.scale)
        return (scaled @ self.weights + self.offset).argmax(dim=1).numpy()


# Of each method: its features (a class first learns from the training digits), how it is made of a
# parameter, and the parameters to choose from.
METHODS: dict[str, tuple[Any, Callable[[Any], Any], Sequence[Any]]] = {
    "ridge, pixels": (pixels, lambda alpha: RidgeClassifier(alpha), (1.0, 100.0, 10_000.0)),
    "k-NN, pixels": (pixels, lambda k: KNeighborsClassifier(k, weights="distance"), (1, 3, 5)),
    "k-NN, deskewed": (deskewed, lambda k: KNeighborsClassifier(k, weights="distance"), (1, 3, 5)),
    "extra trees, pixels": (
        pixels,
        lambda share: ExtraTreesClassifier(300, max_features=share, n_jobs=-1, random_state=0),
        (14, 28, 84),
    ),
    "RBF SVM, deskewed, 60 components": (
        deskewed,
        lambda gamma: make_pipeline(PCA(60, random_state=0), SVC(C=10, gamma=gamma)),
        (0.015, 0.03, 0.06),
    ),
    "ridge, random convolutions, deskewed": (RandomConvolutions, Ridge, (1e-3, 1e-2, 1e-1)),
}


NETWORKS = ("fast_99", "fast_994")


def measure(name: str) -> dict[str, Any]:
    """Choose, learn, read the test set; a network's recipe is fixed."""
    digits = mh.load_mnist(source="mnist")
    train, validation = digits.train.split(1 / 12, seed=0)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    if name in NETWORKS:
        entry, few = mh.ZOO[name], train.select(torch.arange(1_280))
        tables.fitted(entry.build(), few, few, entry.recipe)  # to warm up
    times = [time.perf_counter()]
    if name in NETWORKS:
        best = choice = None
        method = entry.build(seed=0)
        tables.fitted(method, train, few, entry.recipe)
        times.append(time.perf_counter())
        read = mh.predict_logits(method, digits.test.images).argmax(dim=1).numpy()
    else:
        kind, make, parameters = METHODS[name]
        # The best k depends on how dense the digits lie.
        few = train if name.startswith("k-NN") else train.split(CHOICE_DIGITS, seed=0)[1]
        features = kind(few.images) if isinstance(kind, type) else kind
        inputs, held, labels = features(few.images), features(validation.images), few.labels
        guesses = {one: make(one).fit(inputs, labels.numpy()).predict(held) for one in parameters}
        right = {one: (read == validation.labels.numpy()).sum() for one, read in guesses.items()}
        best = max(right, key=lambda one: right[one])
        times.append(time.perf_counter())
        choice = times[1] - times.pop(0)
        features = kind(train.images) if isinstance(kind, type) else kind
        method = make(best).fit(features(train.images), train.labels.numpy())
        times.append(time.perf_counter())
        read = method.predict(features(digits.test.images))
    times.append(time.perf_counter())
    seconds, reading = (later - one for one, later in pairwise(times))
    return {
        **{"parameter": best, "accuracy": float((read == digits.test.labels.numpy()).mean())},
        **{"choice": choice, "seconds": seconds, "read": reading},
        "memory": (memory("VmHWM") - before) / 2**20,
    }


@tables.one_line_errors()
def main() -> None:
    """Measure each method in turn, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [*METHODS, *NETWORKS]
    parser.add_argument(
        "methods", nargs="*", type=tables.one_of(names), metavar="METHOD", default=names
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    for name in options.methods:
        command = [sys.executable, __file__, "--one", name]
        result = json.loads(subprocess.check_output(command, text=True))
        tables.measured("classic", [{"seed": 0, **result}], name=name)
        print(name, result, flush=True)
    print(tables.classic())


if __name__ == "__main__":
    main()
