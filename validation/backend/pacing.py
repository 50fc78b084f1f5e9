"""Sleep until an instant more precisely than the system does, so that operations last their
price.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hwprofiles.units import NS_PER_S

SPIN_NS = 60_000
"""Last stretch before an instant, in which a thread polls the clock instead of sleeping.

A sleeping thread is woken up to about this much late.
"""

SWITCH_INTERVAL_S = 2e-5
"""How long a thread that computes in Python may keep others waiting, in seconds.

Python's own 5 ms would be longer than most operations.
"""

# From linux/prctl.h.
_PR_SET_TIMERSLACK = 29


def sleep_until(instant_ns: int) -> None:
    """Return at that instant of ``time.perf_counter_ns``, or at once if it has passed."""
    left_ns = instant_ns - time.perf_counter_ns()
    if left_ns > SPIN_NS:
        time.sleep((left_ns - SPIN_NS) / NS_PER_S)
    while time.perf_counter_ns() < instant_ns:
        time.sleep(0)  # lets the other threads run


def rest_until(instant_ns: int) -> None:
    """Return at that instant or a little later, and leave the processor to others until then."""
    left_ns = instant_ns - time.perf_counter_ns()
    if left_ns > 0:
        time.sleep(left_ns / NS_PER_S)


def wake_promptly() -> None:
    """Ask the kernel to wake this thread without delay, on Linux.

    By default Linux may wake a thread 50 µs late to bundle timers.
    """
    if sys.platform == "linux":
        # One nanosecond: zero would bring the default back.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


@contextmanager
def steady_threads() -> Iterator[None]:
    """Let threads take turns every SWITCH_INTERVAL_S in this block, without garbage collection."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        with without_garbage_search():
            yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def without_garbage_search() -> Iterator[None]:
    """Turn Python's garbage collection off in this block.

    A collection holds all threads for some 0.1 to 0.5 s, longer than a whole run may take.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
