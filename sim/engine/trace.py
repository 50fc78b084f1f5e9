"""A timeline as a file for trace viewers:

Chrome's trace-event format, which ui.perfetto.dev and chrome://tracing open.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwprofiles.text_file import whole_file
from sim.engine.task import NONE, TaskKind
from sim.engine.timeline import Timeline

LINK_KINDS = (
    *(
        TaskKind.FETCH,
        TaskKind.LAYER_FETCH,
        TaskKind.EVICT,
        TaskKind.ACTIVATION_COPY,
        TaskKind.PREFETCH,
        TaskKind.PAGE,
    ),
    TaskKind.EARLY_FETCH,
)
"""Tasks whose bytes are in flight on a link while they run."""

NO_COUNTERS: Mapping[str, tuple[ArrayLike, ArrayLike]] = MappingProxyType({})

_PROCESS = 1
_BATCH_EVENTS = 10_000


def write_trace(
    timeline: Timeline,
    path: Path | str,
    *,
    counters: Mapping[str, tuple[ArrayLike, ArrayLike]] = NO_COUNTERS,
) -> None:
    """Write the timeline to that file, whole or not at all.

    A track a resource, a slice a task from its start to its end (a chunked task that was overtaken
    at a border spans what overtook it; where spans cross, the resource has a second track), a mark
    for each dropped task, a counter of the bytes in flight for each resource that copies, and the
    counters given: by name (say the unit) the times in ns and the values from then on. Raises
    InputError where the file cannot be written.
    """
    with whole_file(Path(path)) as file:
        file.write(b'{"displayTimeUnit":"ns","traceEvents":[\n')
        separator = ""
        for batch in _batches(_events(timeline, counters)):
            file.write((separator + ",\n".join(batch)).encode())
            separator = ",\n"
        file.write(b"\n]}\n")


def _events(
    timeline: Timeline, counters: Mapping[str, tuple[ArrayLike, ArrayLike]]
) -> Iterator[str]:
    yield _named("process_name", 0, timeline_name(timeline))
    track = 0
    for index, resource in enumerate(timeline.platform.resources):
        mine = np.flatnonzero(timeline.tasks.resource == index)
        for level, numbers in enumerate(tracks(timeline, mine)):
            track += 1
            yield _named(
                "thread_name",
                track,
                resource.name if level == 0 else f"{resource.name} ({level + 1})",
            )
            yield _event("M", "thread_sort_index", track, None, {"sort_index": track})
            yield from (_task(timeline, number, track) for number in numbers)
        yield from _bytes_in_flight(timeline, mine, resource.name)
    for name, (times_ns, values) in counters.items():
        yield from _counter(name, np.asarray(times_ns), np.asarray(values))


def timeline_name(timeline: Timeline) -> str:
    """What the tracks stand under in a viewer."""
    return f"{len(timeline.tasks)} tasks, {timeline.makespan_ns / 1e6:.3f} ms"


def task_name(timeline: Timeline, number: int) -> str:
    """A name a person understands:

    ``layer 3 expert 5``, ``layer 3 expert 5 prefetch``, ``layer 0 attention``, ``head``.
    """
    tasks = timeline.tasks
    kind, layer, expert = (
        TaskKind(int(tasks.kind[number])),
        int(tasks.layer[number]),
        int(tasks.expert[number]),
    )
    words = [f"layer {layer}"] if layer != NONE else []
    words += [f"expert {expert}"] if expert != NONE else []
    if kind is not TaskKind.EXPERT or expert == NONE:
        words.append(kind.name.lower().replace("_", " "))
    return " ".join(words)


def tracks(timeline: Timeline, numbers: NDArray[np.int64]) -> Sequence[Sequence[int]]:
    """The tasks by start, on as few tracks as it takes for slices of one to lie side by side or
    inside each other; at least one track.
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


def _has_place(open_ends: list[int], start: int, end: int) -> bool:
    """Whether a slice fits inside what is open on a track at its start."""
    while open_ends and open_ends[-1] <= start:
        open_ends.pop()
    return not open_ends or end <= open_ends[-1]


def _task(timeline: Timeline, number: int, track: int) -> str:
    tasks = timeline.tasks
    start_ns, end_ns = int(timeline.start_ns[number]), int(timeline.end_ns[number])
    arguments: dict[str, Any] = {
        "task": number,
        "kind": TaskKind(int(tasks.kind[number])).name.lower(),
        "step": int(tasks.step[number]),
    }
    arguments |= {
        name: int(column[number])
        for name, column in (("layer", tasks.layer), ("expert", tasks.expert))
        if int(column[number]) != NONE
    }
    arguments |= {"bytes": int(tasks.num_bytes[number]), "busy_ns": int(timeline.busy_ns[number])}
    if timeline.is_dropped[number]:
        return _event(
            "i", f"dropped: {task_name(timeline, number)}", track, start_ns, arguments, '"s":"t"'
        )
    return _event(
        "X",
        task_name(timeline, number),
        track,
        start_ns,
        arguments,
        f'"dur":{_microseconds(end_ns - start_ns)}',
    )


def _bytes_in_flight(
    timeline: Timeline, numbers: NDArray[np.int64], resource: str
) -> Iterator[str]:
    tasks = timeline.tasks
    copies = numbers[
        np.isin(tasks.kind[numbers], LINK_KINDS)
        & (tasks.num_bytes[numbers] > 0)
        & ~timeline.is_dropped[numbers]
    ]
    times_ns = np.concatenate([timeline.start_ns[copies], timeline.end_ns[copies]])
    changes = np.concatenate([tasks.num_bytes[copies], -tasks.num_bytes[copies]])
    instants_ns, places = np.unique(times_ns, return_inverse=True)
    totals = np.zeros(len(instants_ns), np.int64)
    np.add.at(totals, places, changes)
    yield from _counter(f"{resource}: bytes in flight", instants_ns, totals.cumsum())


def _counter(name: str, times_ns: NDArray[Any], values: NDArray[Any]) -> Iterator[str]:
    for time_ns, value in zip(times_ns.tolist(), values.tolist(), strict=True):
        yield _event("C", name, 0, int(time_ns), {"value": value})


def _named(what: str, track: int, name: str) -> str:
    return _event("M", what, track, None, {"name": name})


def _event(
    phase: str,
    name: str,
    track: int,
    time_ns: int | None,
    arguments: Mapping[str, Any],
    more: str = "",
) -> str:
    parts = [f'"ph":"{phase}","pid":{_PROCESS},"tid":{track},"name":{json.dumps(name)}']
    parts += [f'"ts":{_microseconds(time_ns)}'] if time_ns is not None else []
    parts += [more] if more else []
    return "{" + ",".join([*parts, f'"args":{json.dumps(arguments)}']) + "}"


def _microseconds(time_ns: int) -> str:
    """Exact: the viewer's unit is the microsecond, with as many decimals as one likes."""
    return f"{time_ns // 1000}.{time_ns % 1000:03d}"


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH_EVENTS:
            yield batch
            batch = []
    if batch:
        yield batch
