"""Turn the decisions of pipelined layers into one program."""

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.engine.program import Program
from sim.engine.task import NONE, Discipline, Resource
from sim.policies.problem import Problem
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.draft import Draft, N
from sim.step.lowering.job import table
from sim.step.lowering.lower import (
    RESOURCES,
    Lowered,
    fresh_draft,
    platform,
    sheet_of,
)
from sim.step.lowering.pipeline import NUM_GROUPS, Flow, emit_pipelined_run
from sim.step.lowering.pipeline_prices import pipeline_prices
from sim.step.lowering.prices import price
from sim.workload.batch import Passes

PIPELINE_RESOURCES = tuple(
    Resource(name=resource.name, discipline=Discipline.PRIORITY)
    if resource.name == "h2d"
    else resource
    for resource in RESOURCES
)
"""RESOURCES with copies to the GPU that go by priority: activations go before pages."""

MAX_TASKS_PER_PIPELINED_LAYER = 16
MAX_TASKS_PER_GROUP = 4


def lower_pipelined(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], decisions: Decisions
) -> Lowered:
    """All tasks of the run. Raises InputError for pages without a buffer."""
    draft, flow = pipelined_draft(problem, passes, tokens, decisions, len(passes))
    emit_pipelined_run(draft, flow)
    program = Program(
        platform=platform(problem.machine, PIPELINE_RESOURCES),
        tasks=table(draft, 0, int(draft.state[N])),
    )
    return Lowered(program=program, last_task=draft.last_task)


def pipelined_draft(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    decisions: Decisions,
    num_emitted: int,
) -> tuple[Draft, Flow]:
    """Return a draft without tasks, and the flow that emits the first ``num_emitted`` passes into
    it.

    Raises InputError for pages without a buffer.
    """
    assert decisions.pipelined is not None, "pipelined layers without what they need to know"
    assert problem.num_gpus == 1, "pipelined layers on several GPUs"
    pipe = pipeline_prices(problem, passes, decisions.pipelined)
    overlap = problem.overlap
    if pipe["page_bytes"].any() and not (
        overlap.staging_layers and overlap.staging_layer_share == 1
    ):
        given = f"{overlap.staging_layers} of share {overlap.staging_layer_share:g}"
        raise InputError(
            f"staging_layers must be at least 1, of staging_layer_share 1, where layers are paged, got {given}"
        )
    prices = price(
        problem, passes, decisions.modes, decisions.head_modes, int(tokens.max(initial=0))
    )
    num_tasks = (
        2 * int(np.count_nonzero(tokens))
        + pipe.size * MAX_TASKS_PER_PIPELINED_LAYER
        + len(passes) * MAX_TASKS_PER_GROUP
    )
    firsts = np.append(np.flatnonzero(np.diff(passes.group, prepend=-1)), len(passes))
    buffers = max(1, overlap.staging_layers)
    progress = np.zeros(4, np.int64)
    progress[NUM_GROUPS] = np.searchsorted(firsts, num_emitted)
    flow = Flow(
        pipe=pipe,
        firsts=firsts,
        ends=np.full((int(np.diff(firsts).max()), 2), NONE),
        last_use=np.full(buffers, NONE),
        last_page=np.full(buffers, NONE),
        progress=progress,
    )
    sheet = sheet_of(problem, passes, tokens, decisions, (prices, len(PIPELINE_RESOURCES)))
    return fresh_draft(problem, sheet, num_tasks), flow
