"""A policy whose residency changes, executed: its decisions are taken gate by gate, about what has really been copied by then."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sim.lowering.decisions import Decisions
from sim.lowering.live_run import LiveJob, live_job, process
from sim.policies.base import Foresight
from sim.policies.policy import Policy
from validation.backend.accelerator_memory import AcceleratorMemory
from validation.backend.executed import Executed, executed_of
from validation.backend.forward_pass import Sequences
from validation.backend.lane import Line
from validation.backend.live_session import LiveSession
from validation.backend.live_work import LiveWork
from validation.backend.slot_arena import SlotArena
from validation.backend.weights import Weights


def job_of(policy: Policy, foresight: Foresight) -> LiveJob:
    """The simulator's own state of a live run, with room for whatever the router may select."""
    shape = foresight.tokens.shape
    decisions = Decisions(
        actions=np.zeros(shape, np.uint8),
        modes=np.ascontiguousarray(policy.dispatch.layer_modes(foresight.residency, foresight.passes.num_tokens)),
        head_modes=policy.dispatch.head_modes(foresight.residency, foresight.passes.num_tokens),
    )
    return live_job(policy, foresight.residency, foresight, decisions, is_foreseen=False)


def execute_live(policy: Policy, foresight: Foresight, weights: Weights, sequences: Sequences, lanes: Sequence[Line]) -> Executed:
    """Run the batch; what the router really selects replaces what was foreseen, gate by gate."""
    problem, passes, residency = foresight.problem, foresight.passes, foresight.residency
    job = job_of(policy, foresight)
    memory = AcceleratorMemory(weights, replace(residency, experts=np.zeros_like(residency.experts)), problem.overlap)
    arena = SlotArena(weights, residency, job.cached.slots, is_global=policy.cache.is_global)
    work = LiveWork(job, passes, weights, memory, arena, sequences)
    session = LiveSession(lanes, work, arena)
    began_ns = time.perf_counter_ns()
    session.run(process(job, session))
    decisions = Decisions(actions=job.sheet.actions, modes=job.sheet.work["mode"].astype(np.uint8), head_modes=_head_modes(job))
    return executed_of(session.tickets, job.platform, began_ns, decisions, passes, job.sheet.tokens, sequences)


def _head_modes(job: LiveJob) -> np.ndarray:
    return job.sheet.passes["head_mode"].astype(np.uint8)
