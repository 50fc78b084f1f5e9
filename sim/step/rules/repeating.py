"""Compiled function that writes out the candidates of gates that name the same experts."""

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import kernel


@kernel
def repeat_blocks(
    blocks: NDArray[np.int32],
    first: NDArray[np.int64],
    sizes: NDArray[np.int64],
    case: NDArray[np.int64],
    rows: NDArray[np.int32],
) -> None:
    """Fill the beginning of ``rows`` with the block of each ``case``, one after another.

    ``blocks`` lie one after another; block b has ``sizes[b]`` rows from the row ``first[b]`` on.
    """
    place = 0
    for number in case:
        for row in range(first[number], first[number] + sizes[number]):
            for column in range(rows.shape[1]):
                rows[place, column] = blocks[row, column]
            place += 1
