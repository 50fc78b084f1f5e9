"""Lines below the frontiers of many runs, summed by layer and expert, for the static bound over
several draws.

Each cell (one layer of one pass) is bounded from below by a line. The line touches the cell's
frontier where a given share of its experts is missing. Any line is valid, so nothing is solved for
each cell. The best share is chosen by layer and phase, from the sums.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.bounds.compilation import bound_kernel
from planner.bounds.frontier import Frontiers
from planner.bounds.sums import ExpertTimes
from planner.bounds.work import Floats

MISSING_SHARES = (0.08, 0.2, 0.35, 0.5, 0.62, 0.74, 0.86, 0.95)
"""Shares of a cell's experts that are missing where lines touch the frontier."""

NUM_PHASES = 2
"""Prefill and decode: lines are chosen for each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lines(ExpertTimes):
    """Lines summed over cells, in ns.

    ``height`` [kind, phase, share, layer] is the sum with all experts missing. ``gain`` [phase,
    share, item] is what one resident expert takes off it.
    """

    height: Floats
    gain: Floats

    def resident_ns(self, kind: int, base_ns: Floats, rent_ns: Floats) -> Floats:
        """Return the least ns [layer] (see ExpertTimes), by each layer's best pair of lines."""
        found = np.empty(len(base_ns))
        _best_pairs(self.height[kind], self.gain, base_ns, rent_ns, found)
        return found

    def savings_per_byte(self, item_bytes: Floats) -> Floats:
        """Return the ns that a byte of each expert saves, by its steepest lines."""
        gains = self.gain.max(axis=1).sum(axis=0).reshape(len(item_bytes), -1)
        return np.asarray((gains / np.maximum(item_bytes, 1)[:, None])[gains > 0])


class Cells(NamedTuple):
    """Cells with experts.

    [cell]: ``layer`` and ``phase`` (0: prefill, 1: decode). ``offsets`` [cell + 1] bounds the
    triples of each cell, and ``item`` [triple] is layer · experts + expert.
    """

    layer: NDArray[np.int64]
    phase: NDArray[np.int64]
    offsets: NDArray[np.int64]
    item: NDArray[np.int64]


def lines(found: Frontiers, cells: Cells, caps: Floats, num_layers: int, num_items: int) -> Lines:
    """Return the lines of these cells, summed.

    ``caps`` [kind, cell] is the most ns that a cell takes in plans of that kind, however its layer
    is run.
    """
    shares = np.array(MISSING_SHARES)
    height = np.zeros((len(caps), NUM_PHASES, len(shares), num_layers))
    gain = np.zeros((NUM_PHASES, len(shares), num_items))
    _add_lines(found, cells, np.ascontiguousarray(caps), shares, height, gain)
    return Lines(height=height, gain=gain)


@bound_kernel
def _add_lines(found, cells, caps, shares, height, gain):  # type: ignore[no-untyped-def]
    """Add the line of every cell and share to ``height`` and ``gain``.

    The line has the slope of the frontier at that share, at least 0, and touches the frontier from
    below.
    """
    layer = cells.layer
    phase = cells.phase
    offsets = cells.offsets
    item = cells.item
    for cell in range(len(layer)):
        first = found.offsets[cell]
        last = found.offsets[cell + 1]
        total = 0.0
        for triple in range(offsets[cell], offsets[cell + 1]):
            total += found.weight[triple]
        for number in range(len(shares)):
            slope = 0.0
            for vertex in range(first, last - 1):
                slope = (found.ns[vertex + 1] - found.ns[vertex]) / (
                    found.missing[vertex + 1] - found.missing[vertex]
                )
                if found.missing[vertex + 1] > shares[number] * total:
                    break
            # Where the frontier falls, missing more costs nothing: residents may be left unused.
            slope = max(slope, 0.0)
            least = np.inf
            for vertex in range(first, last):
                least = min(least, found.ns[vertex] - slope * found.missing[vertex])
            for kind in range(len(caps)):
                height[kind, phase[cell], number, layer[cell]] += min(
                    least + slope * total, caps[kind, cell]
                )
            for triple in range(offsets[cell], offsets[cell + 1]):
                gain[phase[cell], number, item[triple]] += slope * found.weight[triple]


@bound_kernel
def _best_pairs(height, gain, base, rent, least):  # type: ignore[no-untyped-def]
    """Fill ``least`` [layer] with the least ns of a resident layer, by its best line for each
    phase.
    """
    num_shares = height.shape[1]
    num_layers = height.shape[2]
    num_experts = gain.shape[2] // num_layers
    for layer in range(num_layers):
        found = -np.inf
        items = slice(layer * num_experts, (layer + 1) * num_experts)
        for early in range(num_shares):
            for late in range(num_shares):
                saved = 0.0
                for item in range(items.start, items.stop):
                    saved += max(0.0, gain[0, early, item] + gain[1, late, item] - rent[layer])
                # Every pair of lines proves a bound, so the best one counts.
                here = base[layer] + height[0, early, layer] + height[1, late, layer] - saved
                found = max(found, here)
        least[layer] = found
