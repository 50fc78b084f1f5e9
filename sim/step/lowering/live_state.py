"""What a live run works on, besides its cache."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.step.rules.spill_notes import SpillNotes


class Live(NamedTuple):
    """What a live run works on besides its cache.

    ``rules`` has one record: the settings of prefetch, dispatch and overlap, times in ns.
    ``candidates[first[g]:first[g + 1]]`` are the prefetches of gate g = pass · layers + layer.
    After the gates come those of the starts of passes. ``believed`` is ns [CPU, copy, GPU; layer
    shape; tokens]. ``operations`` [n, 2] (task, PROMOTE or DROP) is what the current gate asks of
    the session. ``on_demand`` [GPU] is the gate's last copy of a missing expert to each GPU.
    ``turn`` [1] is the task that the next expert in turn waits for. ``fixed`` is as in Around.
    ``spilled`` [pass, layer, expert] is filled in during the run; it is empty unless the rule is
    SPILL. ``asked[:num_asked[0]]`` are the experts that the current gate asks for, ascending.

    ``is_miss``, ``is_held``, ``copies`` and ``plan`` [expert], ``priced`` [3, expert], ``room``
    [ROOM, expert], ``named`` and ``due`` [step, expert], ``num_named`` [step] and ``needs`` are
    working room. ``notes`` are those of spills. If prefetches are weighed by simulation,
    ``expected`` [step, pass, layer, expert] and ``chances`` [step] are as in Predictions.
    """

    rules: NDArray[np.void]
    first: NDArray[np.int64]
    candidates: NDArray[np.void]
    believed: NDArray[np.int64]
    operations: NDArray[np.int64]
    on_demand: NDArray[np.int64]
    turn: NDArray[np.int64]
    fixed: NDArray[np.int64]
    spilled: NDArray[np.bool_]
    is_miss: NDArray[np.bool_]
    is_held: NDArray[np.bool_]
    copies: NDArray[np.int64]
    priced: NDArray[np.int64]
    room: NDArray[np.int64]
    asked: NDArray[np.int64]
    num_asked: NDArray[np.int64]
    plan: NDArray[np.uint8]
    notes: SpillNotes
    named: NDArray[np.int64]
    num_named: NDArray[np.int64]
    due: NDArray[np.int64]
    needs: NDArray[np.int64]
    expected: NDArray[np.int32]
    chances: NDArray[np.float64]
