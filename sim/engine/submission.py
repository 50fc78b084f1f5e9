"""What every engine accepts: limits and checks of platforms, tasks and waits, and the joining of
submitted tables.
"""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from hwprofiles import InputError
from sim.engine.program import FULL_RATE, Platform, Wait
from sim.engine.task import TaskTable

DURATION_LIMIT_NS = 2**42
"""Durations are below this (73 minutes), so that remaining work in ns * FULL_RATE fits 63 bits."""

CHUNKS_LIMIT = 2**20
"""The most chunks of a task, so that duration * chunk fits 63 bits."""

TIME_LIMIT_NS = 2**62
"""Every run must end before this time (146 years)."""


def check_platform(platform: Platform) -> None:
    """Raises InputError unless the factors are R x R and, off the diagonal, in (0, FULL_RATE]."""
    factors = platform.rate_factors
    if factors is None:
        return
    size = len(platform.resources)
    if factors.shape != (size, size):
        raise InputError(
            f"rate_factors must be {size} x {size} for {size} resources, got shape {factors.shape}"
        )
    for row, column in np.argwhere((factors <= 0) | (factors > FULL_RATE)):
        if row != column:
            names = platform.resources[row].name, platform.resources[column].name
            raise InputError(
                f"rate factor of {names[0]} beside {names[1]} must be in 1..{FULL_RATE}, got {factors[row, column]}"
            )


def check_tasks(platform: Platform, tasks: TaskTable, first: int) -> None:
    """Raises InputError for the first task that breaks a limit, or depends on itself or a later
    one.

    ``first`` is the sequence number of the table's first task.
    """
    last = len(platform.resources) - 1
    durations = tasks.duration_ns
    chunks = tasks.num_chunks
    _check_lengths(tasks)
    _refuse(
        first,
        tasks.resource,
        (tasks.resource < 0) | (tasks.resource > last),
        f"resource must be in 0..{last}",
    )
    _refuse(
        first,
        durations,
        (durations < 0) | (durations >= DURATION_LIMIT_NS),
        "0 <= duration_ns < 2**42 must hold",
    )
    _refuse(
        first, chunks, (chunks < 1) | (chunks > CHUNKS_LIMIT), "1 <= num_chunks <= 2**20 must hold"
    )
    own = np.repeat(np.arange(first, first + len(tasks)), np.diff(tasks.dependency_offsets))
    wrong = (tasks.dependencies < 0) | (tasks.dependencies >= own)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise InputError(
            f"task {own[place]}: 0 <= dependency < {own[place]} must hold, got {tasks.dependencies[place]}"
        )


def _check_lengths(tasks: TaskTable) -> None:
    offsets = tasks.dependency_offsets
    if (
        len(offsets) != len(tasks) + 1
        or offsets[0] != 0
        or offsets[-1] != len(tasks.dependencies)
        or (np.diff(offsets) < 0).any()
    ):
        raise InputError(
            f"dependency_offsets must rise from 0 to {len(tasks.dependencies)} in {len(tasks) + 1} numbers"
        )
    for field in fields(TaskTable):
        if not field.name.startswith("dependenc") and len(getattr(tasks, field.name)) != len(tasks):
            raise InputError(
                f"column {field.name} must have {len(tasks)} rows, got {len(getattr(tasks, field.name))}"
            )


def _refuse(first: int, column: np.ndarray, wrong: np.ndarray, relation: str) -> None:
    if wrong.any():
        place = int(np.argmax(wrong))
        raise InputError(f"task {first + place}: {relation}, got {column[place]}")


def check_number(number: int, num_tasks: int) -> int:
    """Return the number. Raises InputError if no such task was submitted."""
    if not 0 <= number < num_tasks:
        raise InputError(f"no task {number}: {num_tasks} submitted")
    return number


def check_priority(priority: int) -> None:
    """Raises InputError for a priority that does not fit the 32 bits it has in a table."""
    if not -(2**31) <= priority < 2**31:
        raise InputError(f"priority must be in -2**31..2**31 - 1, got {priority}")


def check_wait(wait: Wait, num_tasks: int) -> Wait:
    """Return the wait. Raises InputError if it names no task, or a task that was not submitted.

    Such a wait would last for ever.
    """
    if not wait:
        raise InputError("a process must wait for at least one task, got an empty wait")
    for number in wait:
        check_number(number, num_tasks)
    return wait


def join_tables(tables: Sequence[TaskTable]) -> TaskTable:
    """Return one table of all rows, in order; dependencies must be absolute sequence numbers."""
    if len(tables) == 1:
        return tables[0]
    columns = {
        field.name: np.concatenate(
            [getattr(table, field.name) for table in tables] or [np.zeros(0, np.int64)]
        )
        for field in fields(TaskTable)
        if field.name != "dependency_offsets"
    }
    counts = [np.diff(table.dependency_offsets) for table in tables]
    offsets = np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
    return TaskTable(dependency_offsets=offsets, **columns)
