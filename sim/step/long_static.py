"""Long decodes of residents that stay, with layers that are streamed or pipelined.

The passes are driven in parts, and copies that run ahead are carried over the border between two
parts.
"""

from sim.costs.memory import Residency
from sim.policies.foresight import Foresight
from sim.policies.problem import Problem
from sim.step.lowering.decisions import decide_all
from sim.step.lowering.static_border import (
    DrivenProgram,
    drive_program,
    num_ahead,
    program_job,
)
from sim.step.simulate import Scenario
from sim.step.under_way import UnderWay, UnshownPasses


class ProgramParts(UnderWay):
    """The parts of a planned run so far."""

    def __init__(self, scenario: Scenario, problem: Problem, residency: Residency) -> None:
        """Begin with no part driven."""
        self._num_ahead = num_ahead(problem)
        # What a buffer holds may be used so many passes later, and have come as many before.
        super().__init__(scenario, residency, num_kept=2 * self._num_ahead)
        self._driven: DrivenProgram | None = None

    def _drive(
        self, foresight: Foresight, num_left_out: int, num_passes: int, *, is_last: bool
    ) -> tuple[DrivenProgram, UnshownPasses]:
        decisions = decide_all(self._scenario.policy, self._residency, foresight)
        job = program_job(
            foresight.problem, foresight.passes, foresight.tokens, decisions, num_passes
        )
        self._driven = drive_program(
            job, self._driven, num_left_out, num_behind=self._num_ahead, is_last=is_last
        )
        known = UnshownPasses(
            passes=foresight.passes,
            tokens=foresight.tokens,
            decisions=decisions,
            last_task=self._driven.job.draft.last_task,
        )
        return self._driven, known.between(0, num_passes)
