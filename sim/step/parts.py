"""Some passes of a run that is not kept whole."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.engine.timeline import Timeline
from sim.step.lowering.decisions import Decisions
from sim.step.simulate import Scenario
from sim.workload.batch import Passes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Some passes of a run; the fields are as in Run.

    ``busy`` is a timeline of the busy resources, which begins at the end of the part before. It
    holds what was still under way then, and what has begun since.
    """

    scenario: Scenario
    passes: Passes
    tokens: NDArray[np.int32]
    decisions: Decisions
    timeline: Timeline
    busy: Timeline
