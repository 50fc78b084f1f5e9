"""Short ways to write small platforms and programs."""

from collections.abc import Sequence

import numpy as np

from sim.engine import Engine
from sim.engine.program import Platform, Program
from sim.engine.task import Discipline, Resource, Task, task_table
from sim.engine.timeline import Timeline


def platform(disciplines: str, factors: Sequence[Sequence[int]] | None = None) -> Platform:
    """Resources by letter: i for in order, p for priority."""
    resources = tuple(
        Resource(
            name=f"{letter}{index}",
            discipline=Discipline.PRIORITY if letter == "p" else Discipline.IN_ORDER,
        )
        for index, letter in enumerate(disciplines)
    )
    return Platform(
        resources=resources, rate_factors=None if factors is None else np.array(factors, np.int64)
    )


def run(contender: Engine, where: str | Platform, *tasks: Task) -> Timeline:
    """The timeline of those tasks."""
    where = platform(where) if isinstance(where, str) else where
    return contender.run_program(Program(platform=where, tasks=task_table(tasks)))


def spans(timeline: Timeline) -> list[tuple[int, int]]:
    """Start and end of every task."""
    return list(zip(timeline.start_ns.tolist(), timeline.end_ns.tolist(), strict=True))
