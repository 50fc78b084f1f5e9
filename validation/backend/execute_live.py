"""A policy whose residency changes, executed: its decisions are taken gate by gate, about what has
really been copied by then.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sim.policies.foresight import Foresight
from sim.policies.policy import Policy
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.live_run import LIVE_RESOURCES, LiveJob, live_job, process
from validation.backend.accelerator_memory import AcceleratorMemory
from validation.backend.executed import ExecutedRun, LaneRecord, executed_of
from validation.backend.forward_pass import Sequences
from validation.backend.live_session import LiveSession
from validation.backend.live_work import LiveWork
from validation.backend.slot_arena import SlotArena
from validation.backend.tier import Lanes
from validation.backend.weights import Weights


def job_of(policy: Policy, foresight: Foresight) -> LiveJob:
    """The simulator's own state of a live run, with room for whatever the router may select."""
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


class LiveRun:
    """One run of the batch; what the router really selects replaces what was foreseen, gate by
    gate.
    """

    resources = LIVE_RESOURCES

    def __init__(
        self,
        policy: Policy,
        foresight: Foresight,
        weights: Weights,
        sequences: Sequences,
        device: torch.device,
    ) -> None:
        problem = foresight.problem
        residency = foresight.residency
        self._job = job_of(policy, foresight)
        self._passes = foresight.passes
        self._sequences = sequences
        memory = AcceleratorMemory(
            weights,
            # Experts lie in the arena's slots, where they change places.
            replace(residency, experts=np.zeros_like(residency.experts)),
            problem.overlap,
            device,
        )
        self._arena = SlotArena(
            weights, residency, self._job.cached.slots, device, is_global=policy.cache.is_global
        )
        self._work = LiveWork(self._job, self._passes, weights, memory, self._arena, sequences)

    def execute(self, lanes: Lanes) -> ExecutedRun:
        """Run the batch and decide gate by gate."""
        job = self._job
        session = LiveSession(lanes.lines, self._work, self._arena)
        began_ns = time.perf_counter_ns()
        session.run(process(job, session))
        decisions = Decisions(
            actions=job.sheet.actions,
            modes=job.sheet.work["mode"].astype(np.uint8),
            head_modes=_head_modes(job),
            spilled=job.spilled,
        )
        seen = LaneRecord(
            tickets=session.tickets,
            platform=job.platform,
            began_ns=began_ns,
            is_paced=lanes.is_paced,
        )
        return executed_of(seen, decisions, self._passes, job.sheet.tokens, self._sequences)


def _head_modes(job: LiveJob) -> NDArray[np.uint8]:
    return job.sheet.passes["head_mode"].astype(np.uint8)
