"""Compiled functions that search and fill a store of expert maps."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import kernel

Array = NDArray[np.float32]
TIE = np.float32(1e-5)
"""Cosines that differ by no more than this are equal.

Their rounding depends on the machine. Ties go to the earlier entry.
"""


class StoredMaps(NamedTuple):
    """The entries of a store of expert maps.

    ``by_expert`` [layer, expert, entry] are the maps. ``lengths`` [layer, entry] are the Euclidean
    lengths of the flattened layers up to each layer.
    """

    by_expert: Array
    lengths: Array


class CosineRoom(NamedTuple):
    """Room for the ``cosines`` [entry] of a layer; ``bits`` are the same memory, read as integers.

    The bits of numbers of at least 0 have the order of the numbers. Processors find the largest of
    integers many at a time.
    """

    cosines: Array
    bits: NDArray[np.int32]


class Nearest(NamedTuple):
    """What a search finds.

    ``trajectory`` [iteration, entry] are the cosines with whole maps. ``best`` [iteration, layer]
    is the nearest entry, and ``score`` [iteration, layer] its cosine.
    """

    trajectory: Array
    best: NDArray[np.int64]
    score: Array


@kernel
def follow(
    maps: Array, own: Array, stored: StoredMaps, distance: int, room: CosineRoom, found_of: Nearest
) -> None:
    """Find the nearest entry for each layer, by the layers up to ``distance`` before it.

    Ties go to the earlier entry. ``maps`` are [iteration, layer, expert]. ``own`` [iteration,
    layer] are the Euclidean lengths of their flattened layers up to each layer.
    """
    by_expert = stored.by_expert
    lengths = stored.lengths
    cosines = room.cosines
    bits = room.bits
    trajectory = found_of.trajectory
    num_layers = maps.shape[1]
    count = trajectory.shape[1]
    for number in range(len(maps)):
        products = trajectory[number]  # grows by a layer at a time; in the end it is divided
        for layer in range(num_layers):
            for expert in range(maps.shape[2]):
                share = maps[number, layer, expert]
                theirs = by_expert[layer, expert]
                # Most shares are 0: few experts of many get a notable part of the gate.
                if share != 0:
                    for entry in range(count):
                        products[entry] += share * theirs[entry]
            if layer + distance >= num_layers:
                continue
            for entry in range(count):
                cosines[entry] = products[entry] / max(
                    own[number, layer] * lengths[layer, entry], np.float32(1e-12)
                )
            largest = bits[0]
            found = 0
            for entry in range(count):
                largest = max(largest, bits[entry])
            while bits[found] != largest:
                found += 1
            most = cosines[found]
            found = 0
            while cosines[found] < most - TIE:
                found += 1
            found_of.best[number, layer + distance] = found
            found_of.score[number, layer + distance] = most
        for entry in range(count):
            products[entry] /= max(
                own[number, num_layers - 1] * lengths[num_layers - 1, entry], np.float32(1e-12)
            )


ROWS_TOGETHER = 8
ENTRIES_TOGETHER = 512
"""How many rows and entries are added up at once: a few KB, which stay in a processor's nearest
cache.
"""


@kernel
def multiply_in_order(rows: Array, by_dimension: Array, products: Array) -> None:
    """Add the products of ``rows`` and entries to ``products`` [row, entry], dimension after
    dimension.

    ``products`` are zeros at first. ``rows`` are [row, dimension], ``by_dimension`` is [dimension,
    entry].
    """
    num_rows, count = products.shape
    for first_row in range(0, num_rows, ROWS_TOGETHER):
        last_row = min(first_row + ROWS_TOGETHER, num_rows)
        for first in range(0, count, ENTRIES_TOGETHER):
            last = min(first + ENTRIES_TOGETHER, count)
            for dimension in range(rows.shape[1]):
                entries = by_dimension[dimension, first:last]
                for row in range(first_row, last_row):
                    share = rows[row, dimension]
                    # Maps have many zeros.
                    if share != 0:
                        sums = products[row, first:last]
                        for entry in range(len(entries)):
                            sums[entry] += share * entries[entry]


@kernel
def transpose_all(by_expert: Array, maps: Array, place: int) -> None:
    """Write ``maps`` [entry, layer, expert] into ``by_expert`` [layer, expert, entry].

    The entries from ``place`` on are written; they are zeros at first.
    """
    for layer in range(maps.shape[1]):
        for number in range(len(maps)):
            for expert in range(maps.shape[2]):
                if maps[number, layer, expert] != 0:
                    by_expert[layer, expert, place + number] = maps[number, layer, expert]


@kernel
def transpose_into(by_expert: Array, before: Array, after: Array, place: int) -> None:
    """Write the map ``after`` [layer, expert] into the entry ``place`` of [layer, expert, entry].

    ``before`` is the map that the entry holds so far.
    """
    for layer in range(before.shape[0]):
        for expert in range(before.shape[1]):
            if before[layer, expert] != after[layer, expert]:
                by_expert[layer, expert, place] = after[layer, expert]


@kernel
def select_by_threshold(
    left: Array, bits: NDArray[np.int32], threshold: Array, least: int, chosen: NDArray[np.bool_]
) -> None:
    """Choose experts for each case until their shares add up to the case's ``threshold``.

    The largest shares go first, and at least ``least`` experts are chosen. ``left`` [case, expert]
    are the shares, which are overwritten. ``bits`` are the same memory, as in CosineRoom.
    ``chosen`` [case, expert] is filled.
    """
    for case in range(len(left)):
        total = np.float32(0.0)
        count = 0
        while count < least or (count < left.shape[1] and total < threshold[case]):
            most = np.int32(-1)
            for expert in range(left.shape[1]):
                most = max(most, bits[case, expert])
            best = 0
            while bits[case, best] != most:
                best += 1
            total += left[case, best]
            chosen[case, best] = True
            bits[case, best] = -1
            count = count + 1
