"""MNIST's files on disk: read, verified by their SHA-256, downloaded where need be (01_data.ipynb).

A damaged file is moved aside, never read; a file appears in the folder whole or not at all.
"""

import gzip
import hashlib
import io
import os
import re
import shutil
import socket
import tempfile
import zlib
from contextlib import suppress
from http.client import HTTPException
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DOWNLOAD_TIMEOUT_SECONDS = 15.0

# SHA-256 of the extracted files. Keras's mnist.npz holds the same bytes without their
# IDX headers, so the same four sums verify it.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
KERAS_NAMES = dict(zip(SHA256, ("x_train", "y_train", "x_test", "y_test"), strict=True))


class DataError(ValueError):
    """The data is missing, damaged or of the wrong form; the message says how to mend it."""


def read_idx(content: bytes) -> Tensor:
    """The array in an IDX file, uint8: two zero bytes, type 8, the number of axes, the sizes
    (4 bytes each, highest first), then the values.

    Raises:
        DataError: the header is another, or the length does not fit it.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(f"not an IDX file of bytes: it begins with {content[:4].hex(' ')!r}")
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    if len(content) != start + prod(shape):
        raise DataError(f"{len(content):,} bytes found, {start + prod(shape):,} expected")
    values = np.frombuffer(content, np.uint8)[start:].reshape(shape)
    return torch.from_numpy(values.copy())


def load_files(folder: Path) -> dict[str, Tensor]:
    """The four arrays of MNIST by file name, uint8, from `folder`, downloaded where need be.

    Raises:
        DataError: they are not there, or are damaged, and cannot be downloaded.
    """
    problems: list[str] = []
    raw = folder / "MNIST" / "raw"
    arrays = _read_raw(raw, problems)
    if len(arrays) < len(SHA256):
        arrays = _read_keras(folder / "mnist.npz", problems) or arrays
    try:
        whole = arrays if len(arrays) == len(SHA256) else _download(folder)
        for problem in problems:
            print(f"{problem}; a good copy is used now")
        return whole
    except (OSError, HTTPException, RuntimeError, DataError) as error:
        theirs = _read_raw(raw, [])
        if len(theirs) == len(SHA256):  # another process has brought them meanwhile
            return theirs
        missing = [name for name in SHA256 if name not in arrays]
        found = "; ".join(problems) or f"{raw} lacks {', '.join(missing)}"
        raise DataError(
            f"{found}; the download failed ({_reason(error)}). Mend: put {', '.join(missing)} "
            f"(or .gz) into {raw}, or Keras's mnist.npz into {folder}, or use the source 'sample'"
        ) from error


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words: torchvision's message lists every mirror."""
    words = re.findall(r"<urlopen error (?:\[Errno -?\d+\] )?(.*?)>", str(error))
    return ", ".join(dict.fromkeys(words)) or " ".join(str(error).split()) or type(error).__name__


def _read_raw(folder: Path, problems: list[str]) -> dict[str, Tensor]:
    """The verified arrays in `folder`; damaged files are moved aside and put among `problems`."""
    arrays = {}
    for name in SHA256:
        for path in (folder / name, folder / f"{name}.gz"):
            content = None if name in arrays else _content(path, problems)
            if content is None:
                continue
            try:
                content = gzip.decompress(content) if path.suffix == ".gz" else content
                arrays[name] = _verified(name, content)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                problems.append(f"{path} is damaged ({error}){_move_aside(path)}")
    return arrays


def _read_keras(path: Path, problems: list[str]) -> dict[str, Tensor]:
    """The verified arrays of Keras's `mnist.npz`, or none."""
    content = _content(path, problems)
    if content is None:
        return {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: _verified(name, _as_idx(file[key])) for name, key in KERAS_NAMES.items()}
    except Exception as error:  # a damaged zip fails in a dozen ways
        problems.append(f"{path} is damaged ({error}){_move_aside(path)}")
        return {}


def _content(path: Path, problems: list[str]) -> bytes | None:
    """What the file holds; None if it isn't there, or can't be read, which is a problem."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        problems.append(f"{path} cannot be read ({error.strerror})")
        return None


def _as_idx(array: np.ndarray) -> bytes:
    """The array in the bytes of an IDX file, to be verified as one."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def _verified(name: str, content: bytes) -> Tensor:
    """The array in `content`, the bytes of the extracted file `name`, or DataError."""
    array = read_idx(content)
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise DataError("its SHA-256 is not MNIST's; other data goes to DigitSet.from_dataset")
    return array


def _move_aside(path: Path) -> str:
    """Rename a damaged file; say what became of it."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        os.replace(path, aside)
    except OSError as error:
        return f", and could not be moved aside ({error.strerror})"
    return f", moved to {aside.name}"


def _download(folder: Path) -> dict[str, Tensor]:
    """Let torchvision download into a folder of our own; verify; move each file in whole."""
    from torchvision.datasets import MNIST  # here: it takes more than a second to import

    raw = folder / "MNIST" / "raw"
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=".download-", dir=folder))
    print(f"Downloading MNIST to {folder} ...")
    timeout = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)  # torchvision's download has none
        MNIST(workplace, download=True)
        problems: list[str] = []
        arrays = _read_raw(workplace / "MNIST" / "raw", problems)
        if len(arrays) < len(SHA256):
            raise DataError("; ".join(problems))
        raw.mkdir(parents=True, exist_ok=True)
        for name in SHA256:
            os.replace(workplace / "MNIST" / "raw" / name, raw / name)
        return arrays
    finally:
        socket.setdefaulttimeout(timeout)
        shutil.rmtree(workplace, ignore_errors=True)
        with suppress(OSError):  # leave no empty folders behind a failure
            for path in made:
                path.rmdir()
