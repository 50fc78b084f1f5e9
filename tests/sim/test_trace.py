"""Traces for viewers: valid events, exact times, readable names, nothing half written."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from sim.engine import engine
from sim.engine.program import Platform, Program, Session, Wait
from sim.engine.task import Discipline, Resource, Task, TaskKind, task_table
from sim.engine.timeline import Timeline
from sim.engine.trace import write_trace
from sim.engine.trace_slices import TraceView, step_slices, task_name, tracks
from tests.sim.engine.strategies import Submit, platforms, programs, tasks_of

LANES = Platform(
    resources=(Resource(name="gpu"), Resource(name="h2d", discipline=Discipline.PRIORITY))
)


def small_timeline() -> Timeline:
    """A prefetch that a fetch overtakes at a border, the expert it brings, and a head."""
    tasks = [
        Task(resource=0, duration_ns=1, kind=TaskKind.GATE, layer=3),
        Task(
            resource=1,
            duration_ns=4001,
            num_chunks=2,
            priority=1,
            kind=TaskKind.PREFETCH,
            layer=4,
            expert=7,
            num_bytes=100,
        ),
        Task(
            resource=1,
            duration_ns=1000,
            kind=TaskKind.FETCH,
            layer=3,
            expert=5,
            num_bytes=40,
            after=(0,),
        ),
        Task(
            resource=0,
            duration_ns=1_234_567,
            kind=TaskKind.EXPERT,
            layer=3,
            expert=5,
            step=2,
            num_bytes=40,
            after=(2,),
        ),
        Task(resource=0, duration_ns=5, kind=TaskKind.HEAD),
    ]
    return engine("reference").run_program(Program(platform=LANES, tasks=task_table(tasks)))


def events_of(path: Path, phase: str) -> list[dict[str, Any]]:
    """Events of one phase in the file, with times as they are written."""
    events = json.loads(path.read_text(encoding="utf-8"), parse_float=str)["traceEvents"]
    return [event for event in events if event["ph"] == phase]


def test_slices_have_exact_times_and_readable_names(tmp_path: Path) -> None:
    """A slice a task, in us with three decimals; the numbers of the table in its arguments."""
    write_trace(small_timeline(), tmp_path / "trace.json")
    slices = {event["name"]: event for event in events_of(tmp_path / "trace.json", "X")}
    del slices["prefill"], slices["decode step 2"]
    assert {name: (event["ts"], event["dur"]) for name, event in slices.items()} == {
        "layer 3 gate": ("0.000", "0.001"),
        "layer 4 expert 7 prefetch": ("0.000", "5.001"),
        "layer 3 expert 5 fetch": ("2.000", "1.000"),
        "layer 3 expert 5": ("3.000", "1234.567"),
        "head": ("1237.567", "0.005"),
    }
    assert slices["layer 3 expert 5"]["args"] == {
        "task": 3,
        "kind": "expert",
        "step": 2,
        "layer": 3,
        "expert": 5,
        "bytes": 40,
        "busy_ns": 1234567,
    }
    assert slices["layer 4 expert 7 prefetch"]["args"]["busy_ns"] == 4001


def test_each_resource_has_a_named_track(tmp_path: Path) -> None:
    """Slices refer to tracks that have names, in the order of the platform."""
    write_trace(small_timeline(), tmp_path / "trace.json")
    names = {
        event["tid"]: event["args"]["name"]
        for event in events_of(tmp_path / "trace.json", "M")
        if event["name"] == "thread_name"
    }
    assert list(names.values()) == ["steps", "GPU", "copies in"]
    assert {
        names[event["tid"]]
        for event in events_of(tmp_path / "trace.json", "X")
        if "expert 7" in event["name"]
    } == {"copies in"}


def test_bytes_in_flight_follow_the_copies(tmp_path: Path) -> None:
    """Copies count while they run or wait at a border; what an expert reads does not; zero at the
    end.
    """
    write_trace(small_timeline(), tmp_path / "trace.json")
    counters = [
        (event["name"], event["ts"], event["args"]["value"])
        for event in events_of(tmp_path / "trace.json", "C")
    ]
    name = "copies in: bytes in flight"
    assert counters == [
        (name, "0.000", 100),
        (name, "2.000", 140),
        (name, "3.000", 100),
        (name, "5.001", 0),
        ("copies in: bytes copied", "3.000", 40),
        ("copies in: bytes copied", "5.001", 140),
    ]


def test_given_counters_are_written(tmp_path: Path) -> None:
    """Steps at the times given."""
    write_trace(
        small_timeline(),
        tmp_path / "trace.json",
        TraceView(counters={"HBM in use (bytes)": (np.array([0, 1500]), np.array([7, 9]))}),
    )
    written = [
        (event["ts"], event["args"]["value"])
        for event in events_of(tmp_path / "trace.json", "C")
        if event["name"] == "HBM in use (bytes)"
    ]
    assert written == [("0.000", 7), ("1.500", 9)]


def test_dropped_tasks_are_marks(tmp_path: Path) -> None:
    """A dropped task is an instant, not a slice of no length."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(
            task_table(
                [
                    Task(
                        resource=1,
                        duration_ns=9,
                        kind=TaskKind.PREFETCH,
                        layer=1,
                        expert=2,
                        num_bytes=5,
                    )
                ]
            )
        )
        session.drop(0)
        yield from ()

    write_trace(engine("reference").run_process(LANES, process), tmp_path / "trace.json")
    assert [event["name"] for event in events_of(tmp_path / "trace.json", "i")] == [
        "dropped: layer 1 expert 2 prefetch"
    ]
    assert not events_of(tmp_path / "trace.json", "X") and not events_of(
        tmp_path / "trace.json", "C"
    )


@settings(max_examples=100, deadline=None)
@given(where=platforms(), rows=programs)
def test_slices_of_a_track_never_cross(where: Platform, rows: tuple) -> None:
    """Two slices of one track lie side by side or one in the other, which is all that viewers draw;
    every task is on one track.
    """
    timeline = engine("reference").run_program(
        Program(platform=where, tasks=task_table(tasks_of(Submit(rows), len(where.resources), 0)))
    )
    for index in range(len(where.resources)):
        mine = np.flatnonzero(timeline.tasks.resource == index)
        found = tracks(timeline, mine)
        assert sorted(number for track in found for number in track) == mine.tolist()
        for track in found:
            spans = [
                (int(timeline.start_ns[number]), int(timeline.end_ns[number])) for number in track
            ]
            assert all(
                b <= c or d <= b
                for place, (a, b) in enumerate(spans)
                for c, d in spans[place + 1 :]
            )


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """The file appears whole or stays as it was, and nothing else is left in the folder."""
    path = tmp_path / "trace.json"
    path.write_text("before")
    with pytest.raises(ValueError):
        write_trace(small_timeline(), path, TraceView(counters={"uneven": ([0, 1], [1])}))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_thing_without_layer_or_expert_is_named_by_its_kind() -> None:
    """Kinds are words."""
    timeline = engine("reference").run_program(
        Program(
            platform=LANES,
            tasks=task_table([Task(resource=0, duration_ns=1, kind=TaskKind.ACTIVATION_COPY)]),
        )
    )
    assert task_name(timeline, 0) == "activation copy"


def packets_of(path: Path) -> list[Any]:
    """The packets of a Perfetto trace."""
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

    trace = Trace()
    trace.ParseFromString(path.read_bytes())
    return list(trace.packet)


def track_names(packets: list[Any]) -> dict[int, str]:
    """Names of the tracks of a Perfetto trace, by their numbers; of processes theirs."""
    descriptors = [each.track_descriptor for each in packets if each.HasField("track_descriptor")]
    return {each.uuid: each.name or each.process.process_name for each in descriptors}


def slices_of(packets: list[Any]) -> dict[str, list[tuple[str, int, int]]]:
    """Slices of a Perfetto trace, by the name of their track: name, start and end in ns.

    Begins and ends are matched as viewers do it: the end is of the slice that began last.
    """
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

    names, begun, found = track_names(packets), {}, {}
    events = [each for each in packets if each.HasField("track_event")]
    for packet in sorted(events, key=lambda packet: packet.timestamp):
        event = packet.track_event
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            begun.setdefault(event.track_uuid, []).append((event.name, packet.timestamp))
        elif event.type == TrackEvent.TYPE_SLICE_END:
            name, start_ns = begun[event.track_uuid].pop()
            rows = found.setdefault(names[event.track_uuid], [])
            rows.append((name, start_ns, packet.timestamp))
    assert not any(begun.values())
    return found


def test_a_perfetto_trace_has_whole_nanoseconds(tmp_path: Path) -> None:
    """Tracks by names that people use, a slice a task, the steps, and the process by its title."""
    write_trace(small_timeline(), tmp_path / "t.pftrace", TraceView(title="a model on a machine"))
    packets = packets_of(tmp_path / "t.pftrace")
    names = list(track_names(packets).values())
    assert names[:4] == ["a model on a machine", "steps", "GPU", "copies in"]
    assert {name: sorted(rows) for name, rows in slices_of(packets).items()} == {
        "steps": sorted(
            (step.name, step.start_ns, step.end_ns) for step in step_slices(small_timeline())
        ),
        "GPU": [
            ("head", 1_237_567, 1_237_572),
            ("layer 3 expert 5", 3000, 1_237_567),
            ("layer 3 gate", 0, 1),
        ],
        "copies in": [
            ("layer 3 expert 5 fetch", 2000, 3000),
            ("layer 4 expert 7 prefetch", 0, 5001),
        ],
    }


def test_arrows_join_tasks_of_different_resources(tmp_path: Path) -> None:
    """One arrow for each dependency across resources: gate to fetch, fetch to expert."""
    write_trace(small_timeline(), tmp_path / "t.pftrace")
    arrows: dict[int, list[str]] = {}
    for packet in packets_of(tmp_path / "t.pftrace"):
        for arrow in packet.track_event.flow_ids:
            arrows.setdefault(arrow, []).append(packet.track_event.name)
    assert sorted(sorted(ends) for ends in arrows.values()) == [
        ["layer 3 expert 5", "layer 3 expert 5 fetch"],
        ["layer 3 expert 5 fetch", "layer 3 gate"],
    ]


@settings(max_examples=40, deadline=None)
@given(where=platforms(), rows=programs)
def test_a_perfetto_trace_has_every_task(where: Platform, rows: tuple) -> None:
    """Begins and ends match on every track, and slices are the tasks, each once."""
    import io

    from sim.engine.trace_perfetto import write_perfetto

    timeline = engine("reference").run_program(
        Program(platform=where, tasks=task_table(tasks_of(Submit(rows), len(where.resources), 0)))
    )
    file = io.BytesIO()
    write_perfetto(timeline, file, TraceView())
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

    trace = Trace()
    trace.ParseFromString(file.getvalue())
    found = slices_of(list(trace.packet))
    found.pop("steps", None)
    spans = sorted((start, end) for rows in found.values() for _, start, end in rows)
    assert spans == sorted(zip(timeline.start_ns.tolist(), timeline.end_ns.tolist(), strict=True))


def test_a_trace_has_a_known_ending(tmp_path: Path) -> None:
    """Nothing is written where the name says no format."""
    with pytest.raises(ValueError, match=r"\.pftrace, \.perfetto-trace or \.json"):
        write_trace(small_timeline(), tmp_path / "trace.txt")
    assert not list(tmp_path.iterdir())
