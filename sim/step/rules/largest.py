"""Compiled search for the largest of random numbers."""

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import kernel

_USED_UP = np.iinfo(np.int64).min


@kernel
def list_largest(bits: NDArray[np.int64], order: NDArray[np.int64]) -> None:
    """Fill ``order`` [token, layer, rank] with the experts of the largest numbers, the largest
    first.

    Ties go to the lower expert. ``bits`` [token, layer, expert] are the bits of numbers of at least
    0, or -1; they are overwritten. The bits have the order of the numbers, and processors find the
    largest of integers many at a time.
    """
    for token, layer in np.ndindex(order.shape[:2]):
        left = bits[token, layer]
        for rank in range(order.shape[2]):
            most = np.int64(_USED_UP)
            best = 0
            for expert in range(len(left)):
                most = max(most, left[expert])
            while left[best] != most:
                best += 1
            order[token, layer, rank] = best
            left[best] = _USED_UP
