"""Files that are there whole or not at all; tensors in a format that can run no code.

Weights are safetensors files, so loading one is safe, whoever made it. Every file is written
beside its target and then moved onto it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn


class CheckpointError(ValueError):
    """A run or checkpoint is missing, damaged or does not fit; the message says the mend."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the process dies.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
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


def write_tensors(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors, and `info` as JSON in the file's header, as one safetensors file."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(plain, metadata={"info": json.dumps(info)}))


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file leads to into a CheckpointError that names the file."""
    from safetensors import SafetensorError

    try:
        yield
    except CheckpointError:
        raise
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{path} is damaged or no file of this package ({reason}): copy it again or train again"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the info of a file of `write_tensors`.

    Raises:
        CheckpointError: the file is missing, truncated or not a safetensors file of ours.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} is missing: train first, or name another folder")
    with damage_named(path), safe_open(path, framework="pt") as file:
        info = dict(json.loads((file.metadata() or {}).get("info", "{}")))
        # Clones: the tensors would keep the file mapped, and Windows then refuses to replace it.
        return {name: file.get_tensor(name).clone() for name in file.keys()}, info  # noqa: SIM118


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str = "the file") -> None:
    """Copy weights into `model`, in place.

    Raises:
        CheckpointError: names or shapes differ from the model's; nothing is copied then.
    """
    expected = model.state_dict()
    wrong = sorted(
        name
        for name in expected.keys() | weights.keys()
        if name not in weights
        or name not in expected
        or weights[name].shape != expected[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{where} does not fit this model (first difference: {wrong[0]}): "
            "load it into the model that it was saved from"
        )
    model.load_state_dict(dict(weights))
