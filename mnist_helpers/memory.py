"""Keep the memory that a training step frees for the next step (10_speed.ipynb)."""

import ctypes
import sys

# glibc's names for two settings of malloc, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


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
