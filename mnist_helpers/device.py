"""What this machine can do: device, precision, memory, versions (03_training.ipynb)."""

import ctypes
import platform
import sys
from importlib import metadata
from pathlib import Path

import torch

# glibc's names for two settings of malloc, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


class RecipeError(ValueError):
    """A device, or a value of a recipe, cannot be used; the message says which can."""


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device to use: `auto` is CUDA or MPS (Apple) where there is one, else the CPU.

    Raises:
        RecipeError: there is no such device here.
    """
    if str(device) == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device(found if found and found.type in ("cuda", "mps") else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
        if chosen.type == "meta":
            raise RuntimeError("meta holds no numbers")
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        name = str(device)
        raise RecipeError(f"no device {name!r} here: choose auto, cpu, cuda or mps") from error
    return chosen


def resolve_precision(precision: str, device: torch.device) -> str:
    """`float32` or `bfloat16`: under `auto`, bfloat16 where the hardware computes in it.

    On a CPU without those instructions bfloat16 is many times slower (pytorch issue 146508).
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = device.type == "cpu" and bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return "bfloat16" if fast else "float32"


def seed_all(seed: int, device: torch.device) -> torch.Generator:
    """Seed the CPU, and the GPU where it is used; return the CPU's generator."""
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
    return torch.default_generator.manual_seed(seed)


def machine_name(device: torch.device) -> str:
    """The name of the GPU; or of the processor, its generation, and how many threads torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, path = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        told = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
        name = told.get("model name", name)
        if told.keys() >= {"cpu family", "model"}:  # of x86: tells generations of one name apart
            name += f" (family {told['cpu family']}, model {told['model']})"
    return f"{name}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of Python, torch and this package."""
    found = {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]}
    try:
        return {**found, "mnist_helpers": metadata.version("mnist-helpers")}
    except metadata.PackageNotFoundError:  # a folder on the path, not installed
        return {**found, "mnist_helpers": "unknown"}


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory, in pieces of up to 32 MiB, for the next tensors.

    Every training step needs the same tensors again. Without this, glibc gives the larger ones back
    to the system each time, which then hands out fresh pages, filled with zeros, one by one. It
    holds for the whole process, until it ends; up to 1 GiB of freed memory stays with it.

    Returns:
        Whether it is so now: True on Linux with glibc; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 2**25)) and bool(mallopt(_TRIM_THRESHOLD, 2**30))
