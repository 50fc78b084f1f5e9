"""A closed loop keeps so many requests under way: closed forms, Little's law, and what a request
file says of it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.serving import ConstantLoad, ServingRun, serve, source_of
from sim.serving.metrics import NothingAnswered
from sim.workload.requests import Request, load_requests
from tests.sim.serving.clusters import cluster, constant_prices, request

STEP_NS = 1_000_000
HEAD = "format: rosin-requests/1\nname: loop\nsource: made up for tests\ndate: '2026'\n"
LENGTHS = "num_requests: 12\nlengths: {prompt_tokens: 3, output_tokens: 5}\n"
CHAT = (
    "num_requests: 4\nmulti_round: {num_users: 2, num_rounds: 2, system_tokens: 0, history_tokens: 9,"
    " question_tokens: 1, answer_tokens: 1, requests_per_s: 1.0}\n"
)


def _served(requests: Iterator[Request], num_in_flight: int, **options: int) -> ServingRun:
    source = ConstantLoad(requests=requests, num_in_flight=num_in_flight)
    return serve(cluster(constant_prices(STEP_NS), **options), source)


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "loop.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    return str(path)


def test_a_request_file_states_it(tmp_path: Path) -> None:
    """``process: closed`` with ``in_flight``, and the same said from outside of a file with other
    arrivals.
    """
    stated = load_requests(_file(tmp_path, LENGTHS + "arrivals: {process: closed, in_flight: 4}\n"))
    even = LENGTHS + "arrivals: {process: even, requests_per_s: 1.0}\n"
    asked = load_requests(_file(tmp_path, even)).always(4)
    runs = [
        serve(cluster(constant_prices(STEP_NS)), source_of(spec, 0)) for spec in (stated, asked)
    ]
    assert [run.metrics.duration_s for run in runs] == [pytest.approx(0.015)] * 2


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        ("{process: closed}", "process closed needs the key in_flight"),
        ("{process: closed, in_flight: 0}", "arrivals.in_flight"),
        (
            "{process: closed, in_flight: 2, speed: 2.0}",
            "process closed does not take the key speed",
        ),
        ("{process: even, requests_per_s: 1.0, in_flight: 2}", "does not take the key in_flight"),
    ],
)
def test_wrong_keys_are_named(arrivals: str, message: str, tmp_path: Path) -> None:
    """Each error names the key."""
    with pytest.raises(InputError, match=message):
        load_requests(_file(tmp_path, f"{LENGTHS}arrivals: {arrivals}\n"))


def test_rounds_have_their_own_timing(tmp_path: Path) -> None:
    """Conversations cannot be a closed loop of requests."""
    with pytest.raises(InputError, match="multi_round has its own timing"):
        load_requests(_file(tmp_path, CHAT)).always(2)


@given(st.integers(1, 20), st.integers(1, 16), st.integers(1, 9))
@settings(max_examples=40)
def test_equal_requests_come_in_waves(count: int, num_in_flight: int, tokens: int) -> None:
    """Equal answers, N at a time: ⌈count / N⌉ waves; own arrival times play no part."""
    requests = (request(number, 10**12 * number, 1, tokens) for number in range(count))
    metrics = _served(requests, num_in_flight).metrics
    assert metrics.num_requests == count
    assert metrics.duration_s == pytest.approx(-(-count // num_in_flight) * tokens * STEP_NS / 1e9)


@given(st.lists(st.integers(1, 24), min_size=1, max_size=60), st.integers(1, 16))
@settings(max_examples=40)
def test_littles_law_holds_for_unequal_answers(lengths: list[int], num_in_flight: int) -> None:
    """While requests are left, exactly N are under way: the time they spend is N times the
    duration, less the idle tail.
    """
    requests = (request(number, 0, 1, tokens) for number, tokens in enumerate(lengths))
    metrics = _served(requests, num_in_flight).metrics
    assert metrics.num_requests == len(lengths)
    spent_s = metrics.num_requests * metrics.end_to_end_s.mean
    idle_s = (num_in_flight - 1) * max(lengths) * STEP_NS / 1e9
    most_s = num_in_flight * metrics.duration_s
    assert most_s - idle_s <= spent_s * (1 + 1e-9)
    assert spent_s <= most_s * (1 + 1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=40)
def test_who_is_turned_away_makes_room(is_too_long: list[bool], num_in_flight: int) -> None:
    """A request that no instance can hold does not stop the loop."""
    requests = (
        request(number, 0, 10_000 if is_long else 4, 2)
        for number, is_long in enumerate(is_too_long)
    )
    if all(is_too_long):
        with pytest.raises(NothingAnswered, match=f"{len(is_too_long)} came"):
            _served(requests, num_in_flight, num_blocks=10)
        return
    metrics = _served(requests, num_in_flight, num_blocks=10).metrics
    assert metrics.num_rejected_requests == sum(is_too_long)
    assert metrics.num_requests == len(is_too_long) - sum(is_too_long)
