"""Laws of serving that hold whatever is asked: tokens are conserved, time has no zero and no scale,
and who comes later delays nobody who was served in turn before.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.serving import ServingRun
from sim.workload.requests.request import Request
from tests.sim.serving.clusters import cluster, constant_prices, odd_prices, request, serve_all

STEP_NS = 1_000_000

Row = tuple[int, int, int]
ROWS = st.lists(
    st.tuples(st.integers(0, 10 * STEP_NS), st.integers(1, 60), st.integers(1, 9)),
    min_size=1,
    max_size=12,
).map(sorted)
"""Arrival, prompt and answer of each request, in the order of arrival."""


def _requests(rows: list[Row], scale: int = 1, later_ns: int = 0) -> list[Request]:
    return [
        request(number, arrival_ns * scale + later_ns, prompt, output)
        for number, (arrival_ns, prompt, output) in enumerate(rows)
    ]


def _ends(run: ServingRun) -> list[tuple[int, int]]:
    """First token and end of each request after its arrival, in the order of their ends, in ns."""
    recorder = run.recorder
    pairs = zip(recorder.ttft_s, recorder.end_to_end_s, strict=True)
    return [(round(first * 1e9), round(end * 1e9)) for first, end in pairs]


OPTIONS = st.fixed_dictionaries(
    {"max_sequences": st.integers(1, 8), "num_blocks": st.integers(40, 200)}
)


@given(ROWS, OPTIONS, st.integers(1, 3))
@settings(max_examples=40)
def test_tokens_are_conserved(rows: list[Row], options: dict[str, int], instances: int) -> None:
    """As many prompt and answer tokens as were asked for, over as long as the run took."""
    run = serve_all(cluster(odd_prices(), num_instances=instances, **options), _requests(rows))
    metrics, recorder = run.metrics, run.recorder
    assert metrics.num_rejected_requests == 0
    assert recorder.prompt_tokens == sum(prompt for _, prompt, _ in rows)
    assert recorder.output_tokens == sum(output for _, _, output in rows)
    assert metrics.output_tokens_per_s * metrics.duration_s == pytest.approx(recorder.output_tokens)
    assert metrics.request_throughput_per_s * metrics.duration_s == pytest.approx(len(rows))
    assert 0 < metrics.gpu_busy_fraction <= 1 + 1e-9
    assert 0 < metrics.gpu_kv_peak_fraction <= 1


@given(ROWS, OPTIONS, st.integers(0, 10**12))
@settings(max_examples=40)
def test_time_has_no_zero(rows: list[Row], options: dict[str, int], later_ns: int) -> None:
    """All requests later by as much: each takes as long."""
    served = cluster(odd_prices(), **options)
    now = serve_all(served, _requests(rows))
    later = serve_all(served, _requests(rows, later_ns=later_ns))
    assert _ends(later) == _ends(now)
    assert later.recorder.last_end_ns == now.recorder.last_end_ns + later_ns


@given(ROWS, OPTIONS, st.integers(2, 9))
@settings(max_examples=40)
def test_time_has_no_scale(rows: list[Row], options: dict[str, int], factor: int) -> None:
    """Steps and arrivals as many times as long: so is everything."""
    usual = serve_all(cluster(constant_prices(STEP_NS), **options), _requests(rows))
    slow = serve_all(
        cluster(constant_prices(STEP_NS * factor), **options), _requests(rows, scale=factor)
    )
    assert _ends(slow) == [(first * factor, end * factor) for first, end in _ends(usual)]
    assert slow.metrics.num_steps == usual.metrics.num_steps


@given(ROWS, st.tuples(st.integers(0, 10**8), st.integers(1, 60), st.integers(1, 9)))
@settings(max_examples=40)
def test_who_comes_last_delays_nobody_in_a_queue(rows: list[Row], last: Row) -> None:
    """One after the other, a request that comes behind all changes no other, and the run ends no
    earlier.
    """
    alone = cluster(odd_prices(), max_sequences=1)
    behind = (rows[-1][0] + last[0], *last[1:])
    without = serve_all(alone, _requests(rows))
    with_it = serve_all(alone, _requests([*rows, behind]))
    assert _ends(with_it)[:-1] == _ends(without)
    assert with_it.recorder.last_end_ns > without.recorder.last_end_ns


@given(ROWS, st.integers(0, 11), st.integers(1, 9))
@settings(max_examples=40)
def test_a_longer_answer_ends_no_queue_earlier(rows: list[Row], which: int, more: int) -> None:
    """One after the other, each request ends no earlier for a longer answer of any."""
    alone = cluster(odd_prices(), max_sequences=1)
    at = which % len(rows)
    longer = [*rows]
    longer[at] = (rows[at][0], rows[at][1], rows[at][2] + more)
    before = _ends(serve_all(alone, _requests(rows)))
    after = _ends(serve_all(alone, _requests(longer)))
    assert before[:at] == after[:at]
    assert all(late >= early for (_, early), (_, late) in zip(before, after, strict=True))


@given(ROWS, st.integers(2, 9))
@settings(max_examples=40)
def test_faster_steps_end_no_queue_later(rows: list[Row], factor: int) -> None:
    """One after the other, no request ends later where every step is as many times as fast."""
    slow, fast = (
        _ends(serve_all(cluster(constant_prices(step), max_sequences=1), _requests(rows)))
        for step in (STEP_NS * factor, STEP_NS)
    )
    assert all(early <= late for (_, early), (_, late) in zip(fast, slow, strict=True))


@given(ROWS, st.integers(1, 8))
@settings(max_examples=40)
def test_a_run_lasts_as_long_as_its_work_and_its_waits(rows: list[Row], sequences: int) -> None:
    """No shorter than any request's own steps, no longer than all steps behind the last arrival."""
    run = serve_all(cluster(constant_prices(STEP_NS), max_sequences=sequences), _requests(rows))
    own = [output for _, _, output in rows]
    first, last = rows[0][0], rows[-1][0]
    assert run.metrics.duration_s * 1e9 >= max(own) * STEP_NS * (1 - 1e-9)
    assert run.metrics.num_steps >= max(own)
    assert run.metrics.duration_s * 1e9 <= last - first + run.metrics.num_steps * STEP_NS + 1


@given(ROWS, OPTIONS)
@settings(max_examples=40)
def test_a_prompt_that_was_there_is_found(rows: list[Row], options: dict[str, int]) -> None:
    """Prompts of one content: whole blocks that an earlier one left are found, never more than
    there are tokens, and nobody computes more than without.
    """
    alike = [
        request(number, arrival, prompt, output, content=1)
        for number, (arrival, prompt, output) in enumerate(rows)
    ]
    shared = serve_all(cluster(odd_prices(), **options), alike)
    apart = serve_all(cluster(odd_prices(), **options), _requests(rows))
    found = sum(shared.recorder.hit_tokens.values())
    assert 0 <= found <= shared.recorder.prompt_tokens
    assert found % 4 == 0
    assert sum(apart.recorder.hit_tokens.values()) == 0
    assert shared.recorder.prompt_tokens == apart.recorder.prompt_tokens
