"""Run a policy from a residency over a draw of the routing, and return the timeline.

A policy whose cache has a score runs live, gate by gate. Every other policy is planned as one
program.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.costs.memory import Residency
from sim.engine import engine
from sim.engine.compilation import is_kept
from sim.engine.flat import flat_pass
from sim.engine.task import NONE
from sim.engine.timeline import Timeline
from sim.policies.actions import LayerMode
from sim.policies.cache.state import CacheState
from sim.policies.foresight import Foresight
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.policies.together import check_parts
from sim.room import OWN_MEMORY, Room
from sim.step.lowering.decisions import Decisions, decide_all, shelf_of
from sim.step.lowering.live_fast import run_live
from sim.step.lowering.live_run import live_job, process
from sim.step.lowering.lower import lower
from sim.step.lowering.passes import emit_run
from sim.step.lowering.pipeline_run import lower_pipelined
from sim.step.lowering.slots import NUM_COMING, Cached, held_of
from sim.workload.batch import Passes

COMPILATION_NOTICE = "compiling the simulator, once"
"""What to tell the user during a first run; ``docs/performance.md`` says how long it takes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Execution:
    """The decisions of a run and the timeline that they gave.

    ``tokens`` [pass, layer, expert] are the tokens that each expert got. ``last_task`` [pass] is
    the task that ends each pass.
    """

    decisions: Decisions
    timeline: Timeline
    tokens: NDArray[np.int32]
    last_task: NDArray[np.int64]
    wasted_prefetch_bytes: int
    cached: Cached | None = None
    """The state of a cache with a score after the run; None for every other cache."""


def execute(
    policy: Policy,
    residency: Residency,
    foresight: Foresight,
    engine_name: str,
    before: Cached | CacheState | None = None,
    room: Room = OWN_MEMORY,
) -> Execution:
    """Run the policy. Raises InputError for parts that do not go together.

    ``before`` is the state of the cache after another execution, with all copies done; the cache
    goes on from that state. A cache without a score has a CacheState, which the execution changes.
    The timeline of a cache with a score lies in ``room``, so the next run in that room overwrites
    it.
    """
    check_parts(policy)
    if policy.cache.score is not None:
        assert before is None or isinstance(before, Cached)
        return _live(policy, residency, foresight, engine_name, before, room)
    assert before is None or isinstance(before, CacheState)
    return _planned(policy, residency, foresight, engine_name, before)


def needs_compilation() -> bool:
    """Whether lowering and the fast engine have to be compiled on this computer before a first run.

    Imports numba.
    """
    return not is_kept(emit_run) or not is_kept(flat_pass)


def _planned(
    policy: Policy,
    residency: Residency,
    foresight: Foresight,
    engine_name: str,
    before: CacheState | None,
) -> Execution:
    """Plan and run everything as one program."""
    decisions = decide_all(policy, residency, foresight, before)
    tokens = foresight.tokens if decisions.tokens is None else decisions.tokens
    return execute_decided(foresight.problem, foresight.passes, tokens, decisions, engine_name)


def execute_decided(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    decisions: Decisions,
    engine_name: str,
) -> Execution:
    """Run the decisions of those passes as one program; ``tokens`` are what experts get."""
    lowered = (lower if decisions.pipelined is None else lower_pipelined)(
        problem, passes, tokens, decisions
    )
    timeline = engine(engine_name).run_program(lowered.program)
    wasted_bytes = 0
    if decisions.early is not None:
        in_vain = (decisions.early & (tokens == 0)).sum(axis=(0, 2))
        wasted_bytes = int(
            in_vain @ np.array([layer.expert_bytes for layer in problem.model.layers])
        )
    return Execution(
        decisions=decisions,
        timeline=timeline,
        tokens=tokens,
        last_task=lowered.last_task,
        wasted_prefetch_bytes=wasted_bytes,
    )


def _live(
    policy: Policy,
    residency: Residency,
    foresight: Foresight,
    engine_name: str,
    before: Cached | None,
    room: Room,
) -> Execution:
    """Run a policy whose cache has a score, gate by gate."""
    decisions = live_decisions(policy, residency, foresight)
    job = live_job(policy, residency, foresight, decisions, room=room)
    if before is not None:
        job = replace(job, cached=_going_on(job.cached, before, is_global=policy.cache.is_global))
    if engine_name == "fast":
        timeline = run_live(job)
    else:
        # The reference engine runs the process as it is written, gate by gate, to check the compiled one.
        timeline = engine(engine_name).run_process(
            job.platform, lambda session: process(job, session)
        )
    return Execution(
        decisions=replace(decisions, spilled=job.spilled),
        timeline=timeline,
        tokens=foresight.tokens,
        last_task=job.draft.last_task,
        wasted_prefetch_bytes=job.wasted_bytes(timeline),
        cached=job.cached,
    )


def live_decisions(policy: Policy, residency: Residency, foresight: Foresight) -> Decisions:
    """Return what is decided before a live run, with empty actions that its gates fill in.

    Raises InputError for parts that do not go together.
    """
    passes = foresight.passes
    modes = np.ascontiguousarray(policy.dispatch.layer_modes(residency, passes.num_tokens))
    if (modes != LayerMode.GPU).any() or not residency.has_head:
        raise InputError(
            f"{policy.name}: a cache of experts needs all else on the GPU; its placement leaves layers elsewhere"
        )
    if policy.prefetch.early(foresight.problem, residency, passes) is not None:
        raise InputError(
            f"{policy.name}: copies ahead of a layer's gate go with residents that stay, not with a cache"
        )
    return Decisions(
        actions=np.zeros(foresight.tokens.shape, np.uint8),
        modes=modes,
        head_modes=policy.dispatch.head_modes(residency, passes.num_tokens),
        shelf=shelf_of(foresight.problem, residency),
    )


def _going_on(fresh: Cached, before: Cached, *, is_global: bool) -> Cached:
    """Return the cache of new passes with the slots and scores of the cache ``before``.

    Numbers of tasks and gates are cleared, because they belong to passes that have ended.
    """
    # Task numbers begin anew: a copy under way would be another task.
    assert before.counters[NUM_COMING] == 0, "copies must have arrived before a run is taken apart"
    slots = before.slots.copy()
    for name in ("copy", "looked_up", "freed_by", "last_use", "pinned_at", "used_at"):
        slots[name] = NONE
    held = held_of(slots, is_global=is_global)
    return fresh._replace(
        slots=slots,
        scores=before.scores,
        free=before.free,
        counters=before.counters,
        **held,
    )
