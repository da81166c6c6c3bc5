"""Files that are there whole or not at all; tensors in a format that can run no code.

Weights are safetensors files, so loading one is safe, whoever made it. Every file is written
beside its target and then moved onto it.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn


class CheckpointError(ValueError):
    """A run or another file is missing, damaged or does not fit; the message says the mend."""


class ExportError(CheckpointError):
    """The model of a run cannot be written in that form; the message says why."""


class ResultsError(ValueError):
    """A file holds no results, or others than are needed; the message says the mend."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the process dies.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(
            f"cannot write {path} ({reason}): choose a folder that can be written"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file by `write_whole`."""
    write_whole(path, (json.dumps(values, indent=2) + "\n").encode())


def tensor_file(tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> bytes:
    """A safetensors file with `info` as JSON in its header."""
    # Copies: the format has no place for weights that two layers share.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    return save(plain, metadata={"info": json.dumps(info)})


def read_tensors(path: Path, sha256: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the info of a safetensors file of ours.

    Args:
        path: the file. sha256: what it must have; empty: anything.

    Raises:
        CheckpointError: the file is missing, damaged or none of ours.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: train first, or name another folder")
    with damage_named(path):
        if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise ValueError("its SHA-256 is not the one in run.json")
        with safe_open(path, framework="pt") as file:
            info = dict(json.loads((file.metadata() or {}).get("info", "{}")))
            # Clones: the tensors would keep the file mapped, and Windows cannot replace it then.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, info  # noqa: SIM118


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: it is damaged.
    """
    with damage_named(path):
        return dict(json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file leads to into a CheckpointError that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except PermissionError as error:
        raise CheckpointError(f"{path} cannot be read: give yourself the right to") from error
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{path} is damaged or no file of this package ({reason}): copy it again or train again"
        ) from error


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str = "the file") -> None:
    """Copy weights into `model`, in place.

    Raises:
        CheckpointError: names or shapes differ from the model's; nothing is copied then.
    """
    own, given = (
        {name: value.shape for name, value in side.items()}
        for side in (model.state_dict(), weights)
    )
    wrong = sorted(name for name, _ in own.items() ^ given.items())
    if wrong:
        raise CheckpointError(
            f"{where} does not fit this model (first difference: {wrong[0]}): "
            "load it into the model that it was saved from"
        )
    model.load_state_dict(dict(weights))
