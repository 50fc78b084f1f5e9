"""Many placements of experts tried at once on the same routing: lowered and timed in one compiled
pass each, over all cores.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.engine.compilation import allocating_kernel
from sim.engine.task import NONE
from sim.policies.actions import LayerMode
from sim.policies.base import Dispatch
from sim.policies.problem import Problem
from sim.step.lowering.decisions import Decisions, beliefs, decide_misses
from sim.step.lowering.early import NO_EARLY
from sim.step.lowering.emit import JOIN_A, JOIN_B, PREVIOUS, ROW, STATE_SIZE, Columns, Sheet
from sim.step.lowering.lower import MAX_TASKS_PER_LAYER, MAX_TASKS_PER_PASS, RESOURCES, sheet_of
from sim.step.lowering.passes import emit_run
from sim.step.lowering.prices import price
from sim.step.rules.spilling import around
from sim.workload.batch import Passes

_NONE = NONE
_NUM_RESOURCES = len(RESOURCES)


def placement_makespans(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    dispatch: Dispatch,
    experts_CLE: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """End of the run in ns [C] under each of C placements [candidate, layer, expert], all else on
    the GPU, nothing cached or fetched ahead.

    Equal to simulating each of them. Raises InputError where interference makes one pass too few.
    """
    if problem.num_gpus > 1:
        raise InputError(
            f"placements can be tried together on one GPU only, got {problem.num_gpus}: simulate them one by one"
        )
    if problem.machine.interference:
        raise InputError(
            "placements cannot be tried together on a machine with interference: simulate them one by one"
        )
    shape = (len(passes), tokens.shape[1])
    decisions = Decisions(
        actions=np.zeros(tokens.shape, np.uint8),
        modes=np.full(shape, LayerMode.GPU, np.uint8),
        head_modes=np.full(len(passes), LayerMode.GPU, np.uint8),
    )
    most = int(tokens.max(initial=0))
    prices = price(problem, passes, decisions.modes, decisions.head_modes, most)
    sheet = sheet_of(problem, passes, tokens, decisions, prices)
    room = (
        2 * int(np.count_nonzero(tokens))
        + shape[0] * shape[1] * MAX_TASKS_PER_LAYER
        + len(passes) * MAX_TASKS_PER_PASS
    )
    believed, rows, rule = beliefs(problem, dispatch, most), np.empty(0, ROW), int(dispatch.rule)
    beside = around(problem, passes.num_tokens, may_spill=dispatch.spills_residents)
    staging = (max(1, problem.overlap.staging_experts), max(1, problem.overlap.staging_layers))
    makespans_C = np.zeros(len(experts_CLE), np.int64)

    def run_share(share: NDArray[np.int64]) -> None:
        part = slice(share[0], share[-1] + 1)
        _run_share(
            sheet,
            experts_CLE[part],
            prices.shape_of,
            rule,
            believed,
            beside,
            NO_EARLY,
            rows,
            room,
            staging,
            makespans_C[part],
        )

    shares = [
        share
        for share in np.array_split(np.arange(len(experts_CLE)), os.cpu_count() or 1)
        if len(share)
    ]
    with ThreadPoolExecutor(
        max(1, len(shares))
    ) as threads:  # compiled code runs without the interpreter's lock
        list(threads.map(run_share, shares))
    return makespans_C


@allocating_kernel
def _run_share(
    sheet, experts_CLE, shape_of, rule, believed, beside, early, rows, room, staging, makespans_C
):
    """The makespans of some of the placements, over the same working room."""
    actions = np.zeros(sheet.tokens.shape, np.uint8)
    prices = (
        sheet.passes,
        sheet.layers,
        sheet.work,
        sheet.experts,
        sheet.activations,
        sheet.shares,
        sheet.run,
    )
    own = Sheet(sheet.tokens, actions, *prices, sheet.leaving)
    out = Columns(
        rows, np.empty(0, np.int64), np.empty(room, np.int64), np.zeros(_NUM_RESOURCES, np.int64)
    )
    rings = (np.empty((1, staging[0]), np.int64), np.empty((1, staging[1]), np.int64))
    state, last_task = np.empty(STATE_SIZE, np.int64), np.zeros(len(sheet.passes), np.int64)
    for candidate in range(len(experts_CLE)):
        decide_misses(
            sheet.tokens, experts_CLE[candidate], shape_of, rule, believed, beside, early, actions
        )
        state[:], rings[0][:], rings[1][:], out.free[:] = 0, _NONE, _NONE, 0
        state[PREVIOUS], state[JOIN_A], state[JOIN_B] = _NONE, _NONE, _NONE
        emit_run(out, state, own, rings, last_task)
        makespans_C[candidate] = out.free.max()
