"""Predict a run that was made: with the routing of that run, from the same residency."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.engine import engine
from sim.engine.program import Program
from sim.engine.timeline import Timeline
from sim.policies.foresight import Foresight
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.lowering.decisions import decide
from sim.step.lowering.live_fast import run_live
from sim.step.lowering.live_run import LiveJob, process
from sim.step.lowering.lower import lower
from validation.backend.executed import ExecutedRun
from validation.backend.real_run import job_of
from validation.backend.rehearsal import Rehearsal, foresight_of
from validation.comparison.lane_costs import LaneCosts
from validation.comparison.lanes_session import time_on_lanes, time_program_on_lanes


class Prediction(Protocol):
    """A predicted run that can be timed repeatedly."""

    def plain(self) -> Timeline:
        """Time the run as the simulator does."""

    def on_lanes(self, costs: LaneCosts) -> Timeline:
        """Time the run with the costs of real lanes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticPrediction:
    """The prediction for a policy whose residency stays: one program."""

    program: Program

    def plain(self) -> Timeline:
        """Time the program as the simulator does."""
        return engine("fast").run_program(self.program)

    def on_lanes(self, costs: LaneCosts) -> Timeline:
        """Time the program with the costs of real lanes."""
        return time_program_on_lanes(self.program, costs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LivePrediction:
    """The prediction for a policy whose residency changes.

    Each timing decides anew, by the simulated clock, about the tokens that the run's router
    selected.
    """

    policy: Policy
    foresight: Foresight
    tokens: NDArray[np.int32]

    def plain(self) -> Timeline:
        """Decide and time the run as the simulator does."""
        return run_live(self._job())

    def on_lanes(self, costs: LaneCosts) -> Timeline:
        """Decide and time the run with the costs of real lanes."""
        job = self._job()
        return time_on_lanes(job.platform, lambda session: process(job, session), costs)

    def _job(self) -> LiveJob:
        # A new job for each timing, because a run changes its state.
        job = job_of(self.policy, self.foresight)
        # The process reads what the router selected, not what was foreseen.
        job.sheet.tokens[:] = self.tokens
        return job


def predict(
    policy: Policy,
    problem: Problem,
    residency: Residency,
    executed: ExecutedRun,
    rehearsal: Rehearsal | None = None,
) -> Prediction:
    """Return the prediction for the experts that the run's own router selected.

    ``rehearsal`` is what the run's prefetchers were told.
    """
    if policy.cache.score is None:
        decisions = decide(policy, problem, residency, executed.passes, executed.tokens)
        return StaticPrediction(
            program=lower(problem, executed.passes, executed.tokens, decisions).program
        )
    assert rehearsal is not None, "a live run was rehearsed"
    foresight = foresight_of(problem, residency, executed.passes, rehearsal)
    return LivePrediction(policy=policy, foresight=foresight, tokens=executed.tokens)
