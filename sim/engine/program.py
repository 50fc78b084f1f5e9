"""An engine's input: resources and tasks.

A program has all its tasks at once. A process submits tasks as time goes by.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.engine.task import Resource, TaskTable

FULL_RATE = 2**20
"""Rate of an undisturbed resource; interference factors are integers in units of 1 / FULL_RATE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The resources, in index order, and how they disturb each other.

    ``rate_factors[r, q]`` (int64, R × R) is the rate at which r progresses while q is busy, in
    units of 1 / FULL_RATE, in (0, FULL_RATE]; None stands for no interference. The diagonal is
    ignored.
    """

    resources: tuple[Resource, ...]
    rate_factors: NDArray[np.int64] | None = None

    def index(self, name: str) -> int:
        """Index of the resource of that name. Raises KeyError for an unknown one."""
        for number, resource in enumerate(self.resources):
            if resource.name == name:
                return number
        raise KeyError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A platform and all the tasks of a run, submitted together at time 0."""

    platform: Platform
    tasks: TaskTable


class Session(Protocol):
    """What an engine offers to a running process.

    Sequence numbers count all tasks submitted so far, from 0.
    """

    @property
    def now_ns(self) -> int:
        """The current instant."""

    def submit(self, tasks: TaskTable) -> int:
        """Append tasks and return the sequence number of the first.

        The dependencies of the tasks are absolute sequence numbers.
        """

    def is_done(self, number: int) -> bool:
        """Whether the task has completed (or was dropped)."""

    def is_started(self, number: int) -> bool:
        """Whether the task has begun to run."""

    def started_ns(self, number: int) -> int:
        """Return when a task started; the answer is meaningless for a task that has not started."""

    def promote(self, number: int, priority: int) -> bool:
        """Give another priority to a task that has not started.

        Return False, and change nothing, if the task has started or was dropped.
        """

    def drop(self, number: int) -> bool:
        """Take back a task that has not started: it ends now, and has run nothing.

        Return False, and change nothing, if the task has started or was dropped.
        """


Wait = tuple[int, ...]
"""The sequence numbers of tasks that a process waits for.

The process goes on at the first instant at which any of these tasks is done. It goes on at once if
one is done already.
"""

Process = Callable[[Session], Generator[Wait, None, None]]
"""A generator function that submits tasks and yields a Wait whenever time must pass."""
