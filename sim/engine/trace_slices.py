"""What a trace viewer shows of a timeline, in any file format: tracks, slices, steps
and counters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwprofiles.units import NS_PER_MS
from sim.engine.task import NONE, TaskKind
from sim.engine.timeline import Timeline

LINK_KINDS = (
    TaskKind.FETCH,
    TaskKind.SLOT_FETCH,
    TaskKind.LAYER_FETCH,
    TaskKind.EVICT,
    TaskKind.ACTIVATION_COPY,
    TaskKind.PREFETCH,
    TaskKind.PAGE,
    TaskKind.KV_COPY,
    TaskKind.EARLY_FETCH,
)
"""Tasks whose bytes cross a link while they run."""

AHEAD_KINDS = (TaskKind.LAYER_FETCH, TaskKind.PREFETCH, TaskKind.EARLY_FETCH, TaskKind.LOOKUP)
"""Tasks that may run before or after the step that they are counted to."""

TRACK_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "gpu": "GPU",
        "cpu": "CPU",
        "h2d": "copies in",
        "d2h": "copies out",
        "host": "host software",
        "matcher": "expert-map matcher",
    }
)
"""The names under which people know the resources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceView:
    """What a viewer shows besides the tasks.

    ``title`` names the process above all tracks; an empty title stands for the number of tasks and
    the makespan. ``counters`` holds two columns for each name: times in ns, and the bytes from each
    time on.
    """

    title: str = ""
    counters: Mapping[str, tuple[ArrayLike, ArrayLike]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSlice:
    """The prefill, or one decode step: a name, and the instants it begins and ends."""

    name: str
    start_ns: int
    end_ns: int


def title_of(timeline: Timeline, view: TraceView) -> str:
    """Return the name that a viewer shows above all tracks."""
    return view.title or f"{len(timeline.tasks)} tasks, {timeline.makespan_ns / NS_PER_MS:.3f} ms"


def track_name(resource: str) -> str:
    """Return a resource's name for people: ``h2d2``, the copies to GPU 2, is ``copies in 2``."""
    name = resource.rstrip("0123456789")
    number = resource[len(name) :]
    word = TRACK_NAMES.get(name, name)
    return f"{word} {number}" if number else word


def task_name(timeline: Timeline, number: int) -> str:
    """Return a task's name for people.

    Examples are ``layer 3 expert 5``, ``layer 3 expert 5 prefetch``, ``layer 0 attention`` and
    ``head``.
    """
    tasks = timeline.tasks
    kind = TaskKind(int(tasks.kind[number]))
    layer = int(tasks.layer[number])
    expert = int(tasks.expert[number])
    words = [f"layer {layer}"] if layer != NONE else []
    words += [f"expert {expert}"] if expert != NONE else []
    if kind is not TaskKind.EXPERT or expert == NONE:
        words.append(kind.name.lower().replace("_", " "))
    return " ".join(words)


def task_facts(timeline: Timeline, number: int) -> dict[str, Any]:
    """Return the facts that a viewer shows when a task is clicked."""
    tasks = timeline.tasks
    facts: dict[str, Any] = {
        "task": number,
        "kind": TaskKind(int(tasks.kind[number])).name.lower(),
        "step": int(tasks.step[number]),
    }
    for name, column in (("layer", tasks.layer), ("expert", tasks.expert)):
        if int(column[number]) != NONE:
            facts[name] = int(column[number])
    return facts | {
        "bytes": int(tasks.num_bytes[number]),
        "busy_ns": int(timeline.busy_ns[number]),
    }


def step_slices(timeline: Timeline) -> list[StepSlice]:
    """Return the prefill and each decode step, without gaps.

    A step begins where the step before it ended, and ends with the last of its own tasks.
    """
    tasks = timeline.tasks
    counts = ~np.isin(tasks.kind, AHEAD_KINDS) & ~timeline.is_dropped
    found: list[StepSlice] = []
    begins_ns = 0
    for step in np.unique(tasks.step[counts]).tolist():
        ends_ns = max(begins_ns, int(timeline.end_ns[counts & (tasks.step == step)].max()))
        name = f"decode step {step}" if step else "prefill"
        found.append(StepSlice(name=name, start_ns=begins_ns, end_ns=ends_ns))
        begins_ns = ends_ns
    return found


def tracks(timeline: Timeline, numbers: NDArray[np.int64]) -> Sequence[Sequence[int]]:
    """Spread tasks over tracks, in the order of their starts; at least one track is returned.

    Slices of one track lie side by side or inside each other. A further track is opened only for a
    slice that fits on no other.
    """
    order = numbers[np.lexsort((numbers, -timeline.end_ns[numbers], timeline.start_ns[numbers]))]
    found: list[list[int]] = [[]]
    open_ends: list[list[int]] = [[]]
    for number, start, end in zip(
        order.tolist(),
        timeline.start_ns[order].tolist(),
        timeline.end_ns[order].tolist(),
        strict=True,
    ):
        level = next(
            (level for level, ends in enumerate(open_ends) if _has_place(ends, start, end)),
            len(found),
        )
        if level == len(found):
            found.append([])
            open_ends.append([])
        found[level].append(number)
        open_ends[level].append(end)
    return found


def counters_of(
    timeline: Timeline, view: TraceView
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """The counters of the links, then those of the view: a name, times in ns, and bytes."""
    for index, resource in enumerate(timeline.platform.resources):
        yield from _link_counters(timeline, index, track_name(resource.name))
    for name, (times_ns, values) in view.counters.items():
        yield name, np.asarray(times_ns), np.asarray(values)


def _link_counters(
    timeline: Timeline, resource: int, name: str
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Yield two counters of a resource: the bytes in flight and the bytes copied so far.

    A resource that copies nothing has no counters.
    """
    tasks = timeline.tasks
    is_copy = (
        (tasks.resource == resource)
        & np.isin(tasks.kind, LINK_KINDS)
        & (tasks.num_bytes > 0)
        & ~timeline.is_dropped
    )
    copies = np.flatnonzero(is_copy)
    if not len(copies):
        return
    sizes = tasks.num_bytes[copies]
    starts_ns = timeline.start_ns[copies]
    ends_ns = timeline.end_ns[copies]
    yield (
        f"{name}: bytes in flight",
        *_totals(np.concatenate([starts_ns, ends_ns]), np.concatenate([sizes, -sizes])),
    )
    yield f"{name}: bytes copied", *_totals(ends_ns, sizes)


def _totals(times_ns: NDArray[np.int64], changes: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return the instants, ascending, and the sum of all changes up to each instant."""
    instants_ns, places = np.unique(times_ns, return_inverse=True)
    totals = np.zeros(len(instants_ns), np.int64)
    np.add.at(totals, places, changes)
    return instants_ns, totals.cumsum()


def _has_place(open_ends: list[int], start: int, end: int) -> bool:
    """Return whether a slice fits on a track; ends of slices that are over at its start are
    removed.
    """
    while open_ends and open_ends[-1] <= start:
        open_ends.pop()
    return not open_ends or end <= open_ends[-1]
