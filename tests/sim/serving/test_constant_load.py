"""A closed loop keeps so many requests under way: closed forms, Little's law, and what a request
file says of it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hwprofiles import InputError
from sim.serving import ConstantLoad, ServingRun, serve, source_of
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


@pytest.mark.parametrize("num_in_flight", [1, 3, 4, 12, 50])
def test_equal_requests_come_in_waves(num_in_flight: int) -> None:
    """Twelve equal answers of five steps, N at a time: ⌈12 / N⌉ waves; own arrival times play no
    part.
    """
    requests = (request(number, 10**12 * number, 1, 5) for number in range(12))
    metrics = _served(requests, num_in_flight).metrics
    assert metrics.num_requests == 12
    assert metrics.duration_s == pytest.approx(-(-12 // num_in_flight) * 5 * STEP_NS / 1e9)


def test_littles_law_holds_for_unequal_answers() -> None:
    """While requests are left, exactly N are under way: the time they spend is N times the
    duration, less the idle tail.
    """
    lengths = [1 + 7 * number % 23 for number in range(200)]
    requests = (request(number, 0, 1, tokens) for number, tokens in enumerate(lengths))
    metrics = _served(requests, 5).metrics
    under_way = metrics.num_requests * metrics.end_to_end_s.mean / metrics.duration_s
    assert 5 - 4 * max(lengths) * STEP_NS / 1e9 / metrics.duration_s <= under_way <= 5


def test_who_is_turned_away_makes_room() -> None:
    """A request that no instance can hold does not stop the loop."""
    requests = iter([request(0, 0, 4, 2), request(1, 0, 10_000, 2), request(2, 0, 4, 2)])
    metrics = _served(requests, 1, num_blocks=10).metrics
    assert (metrics.num_requests, metrics.num_rejected_requests) == (2, 1)


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
