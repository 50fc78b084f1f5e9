"""Memory that arrays give back stays with the process, for those that follow.

A plan makes and drops some thousand arrays of megabytes. Each time, the operating system hands out
cleared pages anew, which took a fifth of a long plan (docs/decisions/0041-a-plan-keeps-its-memory.md).
"""

import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
"""Numbers of malloc.h of the GNU C library."""

KEPT_MIB = 512
"""Free memory at the end of the heap that is not given back."""

LARGEST_FROM_HEAP_MIB = 32
"""What is larger has pages of its own: the heap would be full of holes of that size."""


def keep_memory() -> None:
    """Let the GNU C library keep what is given back, for all threads; others stay as they are."""
    if sys.platform != "linux":
        return
    # Here alone, because most commands end before they need it.
    from ctypes import CDLL

    from hwprofiles.units import MIB

    set_option = getattr(CDLL(None), "mallopt", None)
    # Other C libraries have no such call.
    if set_option is None:
        return
    set_option(M_TRIM_THRESHOLD, KEPT_MIB * MIB)
    set_option(M_MMAP_THRESHOLD, LARGEST_FROM_HEAP_MIB * MIB)
    # A heap of a thread's own has 64 MiB at most, and is given back when it is empty.
    set_option(M_ARENA_MAX, 1)
