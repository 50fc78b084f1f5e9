"""Lanes on streams, with a double for the accelerator: what is launched ahead waits where it must."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from sim.policies import POLICIES
from tests.validation.backend_runs import BATCHES, SHAPES, case
from tests.validation.host_stream import WORK_NS, HostStream
from tests.validation.test_backend_policies import check_tokens
from validation.backend import Tier
from validation.backend.tier import ON_STREAMS

NAMES = ("fiddler", "ktransformers", "zero-streaming", "on-demand", "lru", "promoe", "fmoe")
CLOCKS_APART_NS = WORK_NS // 2
"""How far the host's clock and a stream's may be set wrong to each other."""


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[HostStream]:
    """The streams that runs open from now on."""
    opened: list[HostStream] = []

    def stream_of(tier: Tier, name: str) -> HostStream | None:
        if name not in ON_STREAMS:
            return None
        opened.append(HostStream(name))
        return opened[-1]

    monkeypatch.setattr("validation.backend.tier.stream_of", stream_of)
    return opened


@pytest.mark.parametrize("name", NAMES)
def test_tasks_on_streams_wait_for_each_other(name: str, streams: list[HostStream]) -> None:
    """By the streams' own clocks every task starts after what it depends on has ended, one at a
    time on each; tokens are unchanged.
    """
    subject = case(POLICIES[name], SHAPES["plain"], BATCHES["one"], share=0.3)
    executed = subject.run(tier=Tier.FREE)
    check_tokens(subject, executed)
    line, tasks = executed.timeline, executed.timeline.tasks
    for number in np.flatnonzero(~line.is_dropped).tolist():
        waits = tasks.dependencies[
            tasks.dependency_offsets[number] : tasks.dependency_offsets[number + 1]
        ]
        assert (line.end_ns[waits] <= line.start_ns[number] + CLOCKS_APART_NS).all(), (
            f"task {number} starts before what it waits for"
        )
    assert [stream.name for stream in streams] == list(ON_STREAMS)
    assert sum(stream.num_waits for stream in streams) > 0


def test_launching_runs_ahead(streams: list[HostStream]) -> None:
    """A task is given to its stream before the one it waits for has ended: nobody on the host waits
    in between.
    """
    executed = case(POLICIES["all-on-gpu"], SHAPES["plain"], BATCHES["one"], share=1.0).run(
        tier=Tier.FREE
    )
    line = executed.timeline
    is_on_gpu = line.tasks.resource == 0
    ahead = executed.submitted_ns[is_on_gpu][1:] < line.end_ns[is_on_gpu][:-1]
    assert np.count_nonzero(ahead) > 0.5 * len(ahead)


def test_an_error_on_a_stream_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, streams: list[HostStream]
) -> None:
    """It is raised where the run was asked for; no lane waits for ever."""

    def broken(*_: object) -> None:
        raise ArithmeticError("no such expert")

    monkeypatch.setattr("validation.backend.forward_pass.ForwardPass.run_expert", broken)
    with pytest.raises(ArithmeticError, match="no such expert"):
        case(POLICIES["on-demand"], SHAPES["plain"], BATCHES["one"]).run()
