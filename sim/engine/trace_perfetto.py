"""A timeline as a Perfetto trace: protobuf, with times in whole nanoseconds."""

from collections.abc import Iterator
from itertools import count
from typing import IO, Any

import numpy as np

from sim.engine.timeline import Timeline
from sim.engine.trace_slices import (
    StepSlice,
    TraceView,
    counters_of,
    step_slices,
    task_facts,
    task_name,
    title_of,
    track_name,
    tracks,
)

_PROCESS_TRACK = 1
_PROCESS_ID = 1
_SEQUENCE = 1


def write_perfetto(timeline: Timeline, file: IO[bytes], view: TraceView) -> None:
    """Write the trace: a track for the steps, one for each resource, one for each counter, and an
    arrow for each dependency between tasks of different resources.

    Slices of one resource that cross stand on tracks of one name, which viewers show as one.
    """
    from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

    _Writer(timeline, StreamingTraceProtoBuilder(file)).write(view)


class _Writer:
    """Writes packet after packet; keeps the numbers of tracks and arrows."""

    def __init__(self, timeline: Timeline, builder: Any) -> None:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

        self._timeline = timeline
        self._builder = builder
        self._descriptor = protos.TrackDescriptor
        self._event = protos.TrackEvent
        self._counter = protos.CounterDescriptor
        self._numbers = count(_PROCESS_TRACK + 1)
        self._flows = _flows(timeline)

    def write(self, view: TraceView) -> None:
        """Write the whole trace, track by track."""
        timeline = self._timeline
        self._process(title_of(timeline, view))
        steps = self._track("steps", rank=0)
        for step in step_slices(timeline):
            self._step(step, steps)
        for index, resource in enumerate(timeline.platform.resources):
            mine = np.flatnonzero(timeline.tasks.resource == index)
            for numbers in tracks(timeline, mine):
                track = self._track(track_name(resource.name), rank=index + 1)
                self._slices(numbers, track)
        rank = len(timeline.platform.resources) + 1
        for name, times_ns, values in counters_of(timeline, view):
            track = self._track(name, rank=rank, is_counter=True)
            for time_ns, value in zip(times_ns.tolist(), values.tolist(), strict=True):
                self._value(track, int(time_ns), int(value))
            rank += 1

    def _process(self, title: str) -> None:
        packet = self._packet()
        packet.sequence_flags = packet.SEQ_INCREMENTAL_STATE_CLEARED
        descriptor = packet.track_descriptor
        descriptor.uuid = _PROCESS_TRACK
        descriptor.process.pid = _PROCESS_ID
        descriptor.process.process_name = title
        descriptor.child_ordering = self._descriptor.EXPLICIT
        self._builder.write_packet(packet)

    def _track(self, name: str, *, rank: int, is_counter: bool = False) -> int:
        """Write the description of a track; return the number of the track."""
        packet = self._packet()
        descriptor = packet.track_descriptor
        descriptor.uuid = next(self._numbers)
        descriptor.parent_uuid = _PROCESS_TRACK
        descriptor.name = name
        descriptor.sibling_order_rank = rank
        if is_counter:
            descriptor.counter.unit = self._counter.UNIT_SIZE_BYTES
        self._builder.write_packet(packet)
        return int(descriptor.uuid)

    def _slices(self, numbers: Any, track: int) -> None:
        """Write the tasks of a track as slices, in the order of their starts.

        A slice is closed before another slice begins at the same instant.
        """
        timeline = self._timeline
        open_slices: list[int] = []
        for number in numbers:
            start_ns = int(timeline.start_ns[number])
            end_ns = int(timeline.end_ns[number])
            while open_slices and open_slices[-1] <= start_ns:
                self._end(track, open_slices.pop())
            self._begin(number, track, start_ns)
            if not timeline.is_dropped[number]:
                open_slices.append(end_ns)
        while open_slices:
            self._end(track, open_slices.pop())

    def _begin(self, number: int, track: int, start_ns: int) -> None:
        is_dropped = bool(self._timeline.is_dropped[number])
        packet = self._packet()
        packet.timestamp = start_ns
        event = packet.track_event
        event.type = self._event.TYPE_INSTANT if is_dropped else self._event.TYPE_SLICE_BEGIN
        event.track_uuid = track
        name = task_name(self._timeline, number)
        event.name = f"dropped: {name}" if is_dropped else name
        event.flow_ids.extend(self._flows.get(number, ()))
        for key, value in task_facts(self._timeline, number).items():
            note = event.debug_annotations.add()
            note.name = key
            if isinstance(value, str):
                note.string_value = value
            else:
                note.int_value = value
        self._builder.write_packet(packet)

    def _end(self, track: int, end_ns: int) -> None:
        packet = self._packet()
        packet.timestamp = end_ns
        packet.track_event.type = self._event.TYPE_SLICE_END
        packet.track_event.track_uuid = track
        self._builder.write_packet(packet)

    def _step(self, step: StepSlice, track: int) -> None:
        packet = self._packet()
        packet.timestamp = step.start_ns
        packet.track_event.type = self._event.TYPE_SLICE_BEGIN
        packet.track_event.track_uuid = track
        packet.track_event.name = step.name
        self._builder.write_packet(packet)
        self._end(track, step.end_ns)

    def _value(self, track: int, time_ns: int, value: int) -> None:
        packet = self._packet()
        packet.timestamp = time_ns
        packet.track_event.type = self._event.TYPE_COUNTER
        packet.track_event.track_uuid = track
        packet.track_event.counter_value = value
        self._builder.write_packet(packet)

    def _packet(self) -> Any:
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet


def _flows(timeline: Timeline) -> dict[int, list[int]]:
    """Return the numbers of the arrows that begin or end at each task.

    Each dependency between tasks of different resources is one arrow.
    """
    found: dict[int, list[int]] = {}
    for arrow, (before, after) in enumerate(_pairs(timeline), 1):
        found.setdefault(before, []).append(arrow)
        found.setdefault(after, []).append(arrow)
    return found


def _pairs(timeline: Timeline) -> Iterator[tuple[int, int]]:
    tasks = timeline.tasks
    counts = np.diff(tasks.dependency_offsets)
    after = np.repeat(np.arange(len(tasks)), counts)
    before = tasks.dependencies[tasks.dependency_offsets[0] : tasks.dependency_offsets[-1]]
    is_across = (
        (tasks.resource[before] != tasks.resource[after])
        & ~timeline.is_dropped[before]
        & ~timeline.is_dropped[after]
    )
    yield from zip(before[is_across].tolist(), after[is_across].tolist(), strict=True)
