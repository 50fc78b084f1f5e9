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
from sim.engine.trace import task_name, tracks, write_trace
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
    assert list(names.values()) == ["gpu", "h2d"]
    assert {
        names[event["tid"]]
        for event in events_of(tmp_path / "trace.json", "X")
        if "expert 7" in event["name"]
    } == {"h2d"}


def test_bytes_in_flight_follow_the_copies(tmp_path: Path) -> None:
    """Copies count while they run or wait at a border; what an expert reads does not; zero at the
    end.
    """
    write_trace(small_timeline(), tmp_path / "trace.json")
    counters = [
        (event["name"], event["ts"], event["args"]["value"])
        for event in events_of(tmp_path / "trace.json", "C")
    ]
    name = "h2d: bytes in flight"
    assert counters == [
        (name, "0.000", 100),
        (name, "2.000", 140),
        (name, "3.000", 100),
        (name, "5.001", 0),
    ]


def test_given_counters_are_written(tmp_path: Path) -> None:
    """Steps at the times given."""
    write_trace(
        small_timeline(),
        tmp_path / "trace.json",
        counters={"HBM in use (bytes)": (np.array([0, 1500]), np.array([7, 9]))},
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
        write_trace(small_timeline(), path, counters={"uneven": ([0, 1], [1])})
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
