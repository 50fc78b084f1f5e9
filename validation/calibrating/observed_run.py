"""A run as calibration sees it: the price of each task, and how long the task lasted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sim.engine import engine
from sim.engine.program import Platform, Program
from sim.engine.task import TaskKind, TaskTable
from sim.engine.timeline import Timeline


class CostPart(StrEnum):
    """A part that one formula or curve prices.

    On each lane it has one factor; copies of activations have a delay instead.
    """

    EXPERT = "expert"
    FEED_FORWARD = "feed_forward"
    HEAD = "head"
    GATE = "gate"
    ATTENTION_DECODE = "attention_decode"
    ATTENTION_PREFILL = "attention_prefill"
    COPY = "copy"
    ACTIVATION_COPY = "activation_copy"


PART_OF: Mapping[TaskKind, CostPart] = MappingProxyType(
    {
        TaskKind.EXPERT: CostPart.EXPERT,
        TaskKind.SHARED_EXPERT: CostPart.FEED_FORWARD,
        TaskKind.DENSE_FFN: CostPart.FEED_FORWARD,
        TaskKind.HEAD: CostPart.HEAD,
        TaskKind.GATE: CostPart.GATE,
        TaskKind.ATTENTION: CostPart.ATTENTION_DECODE,
        TaskKind.FETCH: CostPart.COPY,
        TaskKind.EARLY_FETCH: CostPart.COPY,
        TaskKind.LAYER_FETCH: CostPart.COPY,
        TaskKind.EVICT: CostPart.COPY,
        TaskKind.ACTIVATION_COPY: CostPart.ACTIVATION_COPY,
        TaskKind.PREFETCH: CostPart.COPY,
        TaskKind.SLOT_FETCH: CostPart.COPY,
    }
)
"""The part that prices each kind of task. Attention of step 0 is that of a prompt instead.

A machine file or a policy states the times of all other kinds.
"""

Group = tuple[str, CostPart]
"""A lane and a part that runs there; each group has a factor of its own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObservedRun:
    """One run of a plan.

    ``tasks`` have their prices as durations, in the order and with the dependencies of the run.
    ``lasted_ns`` [task] is how long they really lasted.
    """

    plan: str
    platform: Platform
    tasks: TaskTable
    lasted_ns: NDArray[np.int64]
    makespan_ns: int
    num_layer_passes: int

    @property
    def groups(self) -> dict[Group, NDArray[np.bool_]]:
        """Masks of the tasks that belong to each group; some tasks belong to none."""
        found: dict[Group, NDArray[np.bool_]] = {}
        is_prompt = self.tasks.step == 0
        for kind, part in PART_OF.items():
            for lane in np.unique(self.tasks.resource[self.tasks.kind == kind]).tolist():
                here = (self.tasks.kind == kind) & (self.tasks.resource == lane)
                name = self.platform.resources[lane].name
                parts = {part: here}
                if kind is TaskKind.ATTENTION:
                    parts = {
                        CostPart.ATTENTION_PREFILL: here & is_prompt,
                        CostPart.ATTENTION_DECODE: here & ~is_prompt,
                    }
                for own, chosen in parts.items():
                    if chosen.any():
                        # Several kinds of tasks may be one part, so their tasks are added up.
                        found[name, own] = (
                            found.get((name, own), np.zeros(len(self.tasks), bool)) | chosen
                        )
        return found

    def timed(self, durations_ns: NDArray[np.float64]) -> Timeline:
        """Return the tasks as the simulator times them with those durations, with interference."""
        tasks = replace(self.tasks, duration_ns=np.rint(durations_ns).astype(np.int64))
        return engine("fast").run_program(Program(platform=self.platform, tasks=tasks))


def observed_run(plan: str, line: Timeline, num_layer_passes: int) -> ObservedRun:
    """Return the parts of a measured timeline that calibration needs."""
    return ObservedRun(
        plan=plan,
        platform=line.platform,
        tasks=line.tasks,
        lasted_ns=line.end_ns - line.start_ns,
        makespan_ns=line.makespan_ns,
        num_layer_passes=num_layer_passes,
    )
