"""Memory that is freed goes back to the system.

glibc raises the size from which it maps memory, and unmaps it again, up to 32 MiB as it goes, and
gives each thread a heap of its own. Arrays that live for minutes among others that live for
milliseconds then keep more free memory resident than the agent has in use, and ever more of it for
hours.
"""

import ctypes
import os

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h
MAPPED = 256 * 1024  # bytes from which an array is mapped by itself
ARENAS = 2


def keep_little() -> None:
    """Call it before threads start. What the environment says of malloc stands."""
    told = "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if told or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc
        mallopt(M_MMAP_THRESHOLD, MAPPED)
        mallopt(M_ARENA_MAX, ARENAS)
