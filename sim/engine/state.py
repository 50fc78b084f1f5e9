"""The rows of a run that compiled code works on: tasks, lanes (resources at run time), heap entries
and the clock.
"""

from typing import Any, NamedTuple

import numpy as np

NEW, WATCHING, READY, STARTED, DONE, DROPPED = range(6)
"""States of a task.

A NEW task waits for its turn on an in-order resource. A WATCHING task waits for one unfinished
dependency at a time. A READY task has no unfinished dependency.
"""

TASK = np.dtype(
    [
        ("duration", "i8"),
        ("first_dependency", "i8"),  # index in the array of all dependencies
        (
            "num_unchecked",
            "i4",
        ),  # dependencies not looked at yet; they are looked at from the last to the first
        ("priority", "i4"),
        ("num_chunks", "i4"),
        ("chunks_done", "i4"),
        ("watcher", "i4"),  # first of the tasks that watch this one
        ("next_watcher", "i4"),  # the next that watches what this one watches
        ("next_in_order", "i4"),
        ("resource", "i2"),
        ("state", "u1"),
        ("is_awaited", "u1"),
    ],
    align=True,
)
"""One task; numbers of other tasks are NOBODY where there is none."""

START, END, BUSY = range(3)
"""Rows of ``times``, an array with one column for each task."""

LANE = np.dtype(
    [
        ("running", "i8"),
        ("due", "i8"),  # when the running piece ends, NEVER while idle
        ("since", "i8"),  # when the running piece started
        (
            "until",
            "i8",
        ),  # how many chunks are done when it ends; it may run over borders at which nobody waits
        ("remaining", "i8"),  # its work in ns * FULL_RATE at ``rated``
        ("rate", "i8"),  # 0: the piece started at this instant
        ("rated", "i8"),
        (
            "settled_rate",
            "i8",
        ),  # with the resources that were busy when the last instant had settled
        ("was_busy", "i8"),  # 1 if it was busy when the last instant had settled
        ("is_priority", "i8"),
        ("head", "i8"),  # in_order: the first task that has not started, and the last
        ("tail", "i8"),
        ("heap_base", "i8"),  # priority: where its heap lies in the array of entries
        ("heap_size", "i8"),
    ],
    align=True,
)
"""One resource at run time."""

ENTRY = np.dtype([("requeue", "i8"), ("priority", "i4"), ("number", "i4")], align=True)
"""One ready task in the heap of its resource; the smallest (priority, requeue, number) goes first.
"""

NOBODY = -1
NEVER = 2**63 - 1
NOW, NEXT_BORDER, NUM_REQUEUES, NUM_TASKS, NUM_DEPENDENCIES, FIRST_OPEN = range(6)
CLOCK_SIZE = 6
"""Indices into the clock array, and its length.

No task can stop at a chunk border before the time NEXT_BORDER. This time is NOW until the starts of
an instant, then NOW + 1. All tasks before FIRST_OPEN have ended.
"""

FINISHED, AWAITED, TOO_LATE = range(3)
"""Results of ``run``: all tasks are done, an awaited task is done, or the time limit was reached.
"""

REFUSED, ACCEPTED, HEAP_TOO_SMALL = range(3)
"""Results of ``accept``."""


class EngineRows(NamedTuple):
    """All arrays that a run works on.

    ``tasks``, ``lanes`` and ``heap`` hold rows of TASK, LANE and ENTRY. ``times`` (3 x tasks) holds
    starts, ends and busy times in ns. ``dependencies`` holds the dependencies of all tasks, task
    after task. ``factors`` is R x R, or 0 x 0 without interference. ``clock`` holds the counters.
    """

    tasks: Any
    times: Any
    dependencies: Any
    lanes: Any
    heap: Any
    factors: Any
    clock: Any


class EngineColumns(NamedTuple):
    """The columns of a task table that an engine reads, in the types that kernels are compiled for.

    ``offsets`` has one entry more than there are tasks. The dependencies of task t are
    ``dependencies[offsets[t]:offsets[t + 1]]``.
    """

    resource: Any
    duration: Any
    priority: Any
    num_chunks: Any
    offsets: Any
    dependencies: Any
