"""A process that keeps freed memory for its next arrays.

A plan allocates and frees some thousand arrays of megabytes. If freed memory goes back to the
operating system, each allocation clears its pages anew. That took a fifth of a long plan
(docs/decisions/0041-a-plan-keeps-its-memory.md).
"""

import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
"""Numbers of malloc.h of the GNU C library."""

KEPT_MIB = 512
"""The free memory at the end of the heap that is kept (MiB)."""

LARGEST_FROM_HEAP_MIB = 32
"""The largest allocation that the heap serves (MiB).

A larger one has its own pages, since the heap would be full of holes of that size.
"""


def keep_memory() -> None:
    """Let the GNU C library keep freed memory for all threads.

    Other C libraries are left as they are.
    """
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
