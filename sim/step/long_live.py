"""Long decodes of a cache whose copies go on from pass to pass.

The passes are driven in parts, and tasks under way are carried over the border between two parts.
"""

from dataclasses import replace

from sim.costs.memory import Residency
from sim.policies.foresight import Foresight
from sim.step.execute import live_decisions
from sim.step.lowering.live_border import DrivenLive, drive_part
from sim.step.lowering.live_run import live_job
from sim.step.simulate import Scenario
from sim.step.under_way import UnderWay, UnshownPasses


class LiveParts(UnderWay):
    """The parts of a live run so far."""

    def __init__(self, scenario: Scenario, residency: Residency) -> None:
        """Begin with no part driven."""
        super().__init__(scenario, residency)
        self._driven: DrivenLive | None = None

    @property
    def learnt(self) -> object | None:
        """What the predictor has learnt in the parts so far; None before the first part."""
        return None if self._driven is None else self._driven.job.learnt

    def _drive(
        self, foresight: Foresight, num_left_out: int, num_passes: int, *, is_last: bool
    ) -> tuple[DrivenLive, UnshownPasses]:
        assert num_passes == len(foresight.passes), "a gate knows no passes behind those driven"
        policy = self._scenario.policy
        decisions = live_decisions(policy, self._residency, foresight)
        job = live_job(policy, self._residency, foresight, decisions)
        self._driven = drive_part(job, self._driven, num_left_out, is_last=is_last)
        job = self._driven.job
        fresh = UnshownPasses(
            passes=foresight.passes,
            tokens=foresight.tokens,
            decisions=replace(decisions, spilled=job.spilled),
            last_task=job.draft.last_task,
        )
        return self._driven, fresh
