"""How often a model errs on corrupted digits, made here or published (08_robustness.ipynb)."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mnist_helpers.data import DigitSet
from mnist_helpers.evaluation import predict_logits, wilson_interval
from mnist_helpers.mnist_files import DataError
from mnist_helpers.robustness.corruptions import CORRUPTIONS
from torch import nn


def corrupted(digits: DigitSet, name: str, seed: int = 0) -> DigitSet:
    """The same digits under one of `CORRUPTIONS`, at MNIST-C's strength: `mnist/test+fog`.

    Raises:
        DataError: the name is unknown.
    """
    if name not in CORRUPTIONS:
        raise DataError(f"unknown corruption {name!r}: choose one of {', '.join(CORRUPTIONS)}")
    source, _, part = digits.name.partition("/")
    part = f"{part}+{name}" if part else name
    return DigitSet(CORRUPTIONS[name](digits.images, seed), digits.labels, f"{source}/{part}")


def load_mnist_c(folder: str | Path, name: str, part: str = "test") -> DigitSet:
    """The published MNIST-C, of https://zenodo.org/records/3239543, unpacked in `folder`.

    Args:
        folder: has a folder for each corruption, with `test_images.npy`, uint8 `[N, 28, 28, 1]`,
            and `test_labels.npy`.
        name: one of `CORRUPTIONS`, or `identity`; part: `test` or `train`.

    Raises:
        DataError: a file is missing, damaged or of another form.
    """
    place = Path(folder).expanduser() / name
    mend = "Mend: unpack mnist_c.zip of https://zenodo.org/records/3239543 and name its folder"
    try:
        images = np.load(place / f"{part}_images.npy", allow_pickle=False)
        labels = np.load(place / f"{part}_labels.npy", allow_pickle=False)
        images, labels = np.moveaxis(images, 3, 1).copy(), labels.astype(np.int64, casting="safe")
        tensors = torch.from_numpy(images), torch.from_numpy(labels)
        return DigitSet(*tensors, f"mnist-c/{part}+{name}")
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is missing. {mend}") from error
    except Exception as error:  # a damaged file fails in a dozen ways
        reason = error if isinstance(error, DataError) else type(error).__name__
        raise DataError(f"{place} is damaged or not MNIST-C ({reason}). {mend}") from error


def corruption_errors(
    model: nn.Module, digits: DigitSet, mnist_c: str | Path | None = None, seed: int = 0
) -> pd.DataFrame:
    """How often a model errs under each of the fifteen corruptions.

    Args:
        model: images in, logits `[N, 10]` out.
        digits: clean ones, usually the test set.
        mnist_c: the folder of the published MNIST-C (see `load_mnist_c`), to take their place.
        seed: of the corruptions made here.

    Returns:
        A row for each corruption: `corruption`, `errors` and `total` (counts), `error` (a
        fraction), `low` and `high` (its Wilson 95 % interval).

    Raises:
        DataError: the published set is missing or damaged.
    """
    rows = []
    for name in CORRUPTIONS:
        changed = corrupted(digits, name, seed) if mnist_c is None else load_mnist_c(mnist_c, name)
        wrong = predict_logits(model, changed.images).argmax(dim=1) != changed.labels
        errors, total = int(wrong.sum()), len(changed)
        rows.append((name, errors, total, errors / total, *wilson_interval(errors, total)))
    return pd.DataFrame(rows, columns=["corruption", "errors", "total", "error", "low", "high"])


def corruption_lines(table: pd.DataFrame) -> str:
    """The rows of `corruption_errors` in plain text, and their mean."""
    lines = [f"{'corruption':<16}{'error':>8}  95 % interval"]
    for row in table.itertuples():
        lines.append(f"{row.corruption:<16}{row.error:>8.2%}  {row.low:.2%} to {row.high:.2%}")
    return "\n".join([*lines, f"{'mean':<16}{table['error'].mean():>8.2%}"])
