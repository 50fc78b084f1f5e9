"""A timeline in Chrome's trace-event format: JSON that ui.perfetto.dev and chrome://tracing open."""

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles.units import NS_PER_US
from sim.engine.timeline import Timeline
from sim.engine.trace_slices import (
    TraceView,
    counters_of,
    step_slices,
    task_facts,
    task_name,
    title_of,
    track_name,
    tracks,
)

_PROCESS = 1
_STEPS_TRACK = 1
_BATCH_EVENTS = 10_000


def write_chrome(timeline: Timeline, file: IO[bytes], view: TraceView) -> None:
    """Write a trace with all that a Perfetto trace has, except for the arrows.

    A resource whose slices cross gets further tracks, since the format cannot show two tracks as
    one.
    """
    file.write(b'{"displayTimeUnit":"ns","traceEvents":[\n')
    separator = ""
    for batch in _batches(_events(timeline, view)):
        file.write((separator + ",\n".join(batch)).encode())
        separator = ",\n"
    file.write(b"\n]}\n")


def _events(timeline: Timeline, view: TraceView) -> Iterator[str]:
    yield _named("process_name", 0, title_of(timeline, view))
    track = _STEPS_TRACK
    yield from _track("steps", track)
    for step in step_slices(timeline):
        duration = _duration(step.end_ns - step.start_ns)
        yield _event("X", step.name, track, step.start_ns, {}, duration)
    for index, resource in enumerate(timeline.platform.resources):
        mine = np.flatnonzero(timeline.tasks.resource == index)
        for level, numbers in enumerate(tracks(timeline, mine)):
            track += 1
            name = track_name(resource.name)
            yield from _track(f"{name} ({level + 1})" if level else name, track)
            yield from (_task(timeline, number, track) for number in numbers)
    for name, times_ns, values in counters_of(timeline, view):
        yield from _counter(name, times_ns, values)


def _track(name: str, track: int) -> Iterator[str]:
    yield _named("thread_name", track, name)
    yield _event("M", "thread_sort_index", track, None, {"sort_index": track})


def _task(timeline: Timeline, number: int, track: int) -> str:
    start_ns = int(timeline.start_ns[number])
    end_ns = int(timeline.end_ns[number])
    name = task_name(timeline, number)
    facts = task_facts(timeline, number)
    if timeline.is_dropped[number]:
        return _event("i", f"dropped: {name}", track, start_ns, facts, '"s":"t"')
    return _event("X", name, track, start_ns, facts, _duration(end_ns - start_ns))


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


def _duration(duration_ns: int) -> str:
    return f'"dur":{_microseconds(duration_ns)}'


def _microseconds(time_ns: int) -> str:
    """Return a time in microseconds, the viewer's unit, with three decimals, so that it
    is exact.
    """
    return f"{time_ns // NS_PER_US}.{time_ns % NS_PER_US:03d}"


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH_EVENTS:
            yield batch
            batch = []
    if batch:
        yield batch
