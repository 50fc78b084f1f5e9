"""Run policies for real: the simulator's processes decide gate by gate.

Decisions are about what the real router selected and what has really been copied by then.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import numpy as np

from sim.costs.memory import Residency
from sim.engine.program import Platform, Session, Wait
from sim.policies.foresight import Foresight
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.draft import Draft
from sim.step.lowering.live_run import LiveJob, live_job
from sim.step.lowering.live_run import process as live_process
from sim.step.lowering.static_run import process as static_process
from sim.step.lowering.static_run import static_job
from sim.workload.batch import Passes
from validation.backend.accelerator_memory import AcceleratorMemory
from validation.backend.executed import ExecutedRun, LaneRecord, executed_of
from validation.backend.forward_pass import Sequences
from validation.backend.layers_ahead import LayersAhead
from validation.backend.real_session import RealSession
from validation.backend.slot_arena import SlotArena
from validation.backend.task_work import RunParts, TaskWork
from validation.backend.tier import Lanes
from validation.backend.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RealRun:
    """A run that is set up: the simulator's ``process`` and ``draft``, and the ``parts`` it works
    on.

    ``decided`` gives the decisions once the run has ended.
    """

    platform: Platform
    draft: Draft
    process: Callable[[Session], Generator[Wait, None, None]]
    decided: Callable[[], Decisions]
    parts: RunParts
    ahead: LayersAhead | None = None

    def execute(self, lanes: Lanes) -> ExecutedRun:
        """Run the batch; the router's real selections replace the foreseen ones."""
        work = TaskWork(self.draft, self.parts)
        session = RealSession(lanes.lines, work, self.ahead)
        began_ns = time.perf_counter_ns()
        session.run(self.process(session))
        seen = LaneRecord(
            tickets=session.tickets,
            platform=self.platform,
            began_ns=began_ns,
            is_paced=lanes.is_paced,
        )
        tokens = self.draft.sheet.tokens
        return executed_of(seen, self.decided(), self.parts.passes, tokens, self.parts.sequences)


def static_run(
    policy: Policy,
    problem: Problem,
    residency: Residency,
    passes: Passes,
    weights: Weights,
    sequences: Sequences,
) -> RealRun:
    """Set up a run of a policy whose residents stay."""
    job = static_job(policy, problem, residency, passes)
    memory = AcceleratorMemory(weights, residency, problem.overlap, sequences.device)
    return RealRun(
        platform=job.platform,
        draft=job.draft,
        process=lambda session: static_process(job, session),
        decided=lambda: job.decisions,
        parts=RunParts(passes=passes, sequences=sequences, weights=weights, memory=memory),
        ahead=LayersAhead(job),
    )


def live_run(
    policy: Policy, foresight: Foresight, weights: Weights, sequences: Sequences
) -> RealRun:
    """Set up a run of a policy whose residents change with time."""
    residency = foresight.residency
    device = sequences.device
    job = job_of(policy, foresight)
    # Experts lie in the arena's slots, where they change places.
    elsewhere = replace(residency, experts=np.zeros_like(residency.experts))
    return RealRun(
        platform=job.platform,
        draft=job.draft,
        process=lambda session: live_process(job, session),
        decided=lambda: _decided(job),
        parts=RunParts(
            passes=foresight.passes,
            sequences=sequences,
            weights=weights,
            memory=AcceleratorMemory(weights, elsewhere, foresight.problem.overlap, device),
            arena=SlotArena(
                weights, residency, job.cached.slots, device, is_global=policy.cache.is_global
            ),
        ),
    )


def job_of(policy: Policy, foresight: Foresight) -> LiveJob:
    """Return the simulator's own state of a live run, with room for any selection of the router."""
    shape = foresight.tokens.shape
    decisions = Decisions(
        actions=np.zeros(shape, np.uint8),
        modes=np.ascontiguousarray(
            policy.dispatch.layer_modes(foresight.residency, foresight.passes.num_tokens)
        ),
        head_modes=policy.dispatch.head_modes(foresight.residency, foresight.passes.num_tokens),
    )
    # The router may select other experts than were foreseen, so nothing is decided beforehand.
    return live_job(policy, foresight.residency, foresight, decisions, is_foreseen=False)


def _decided(job: LiveJob) -> Decisions:
    return Decisions(
        actions=job.sheet.actions,
        modes=job.sheet.work["mode"].astype(np.uint8),
        head_modes=job.sheet.passes["head_mode"].astype(np.uint8),
        spilled=job.spilled,
    )
