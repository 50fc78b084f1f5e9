"""Arrivals and multi-round conversations: rates, spread, and what each prompt contains."""

import math
import statistics
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S
from sim.workload.requests import (
    MultiRound,
    Span,
    gamma_arrivals_ns,
    load_requests,
    prefix_keys,
    request_names,
)
from sim.workload.requests.multi_round import Conversation

DRAWN = 20_000
CHAT = MultiRound(
    num_users=5,
    num_rounds=4,
    system_tokens=100,
    history_tokens=50,
    question_tokens=7,
    answer_tokens=3,
    requests_per_s=2.0,
)


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_gamma_arrivals_have_rate_and_spread(shape: float) -> None:
    """Mean gap and coefficient of variation are theory's within four standard errors; the same seed
    gives the same.
    """
    arrivals = list(islice(gamma_arrivals_ns(8.0, shape, np.random.default_rng(1)), DRAWN))
    gaps = [(after - before) / NS_PER_S for before, after in pairwise([0, *arrivals])]
    spread = 1 / math.sqrt(shape)
    assert statistics.fmean(gaps) == pytest.approx(1 / 8, abs=4 * spread / 8 / math.sqrt(DRAWN))
    assert statistics.stdev(gaps) / statistics.fmean(gaps) == pytest.approx(spread, rel=0.06)
    assert arrivals == list(islice(gamma_arrivals_ns(8.0, shape, np.random.default_rng(1)), DRAWN))


scenarios = st.builds(
    MultiRound,
    num_users=st.integers(1, 6),
    num_rounds=st.integers(2, 6),
    system_tokens=st.integers(0, 40),
    history_tokens=st.integers(0, 40),
    question_tokens=st.integers(1, 9),
    answer_tokens=st.integers(1, 9),
    requests_per_s=st.sampled_from([0.1, 1.0, 3.0]),
    num_warmup_users=st.integers(0, 8),
)


@settings(max_examples=50)
@given(scenarios)
def test_requests_come_in_order_at_the_stated_rate(scenario: MultiRound) -> None:
    """Numbers and arrivals rise; after the warm-up the rate is rounds/(rounds - 1) of the stated
    one, as by the original's arithmetic.
    """
    requests = list(
        islice(scenario.requests(), scenario.num_warmup_users + 20 * scenario.num_users)
    )
    assert [request.number for request in requests] == list(range(len(requests)))
    assert all(after.arrival_ns >= before.arrival_ns for before, after in pairwise(requests))
    span_s = (requests[-1].arrival_ns - scenario.warmup_ns) / NS_PER_S
    asked = len(requests) - scenario.num_warmup_users
    rate = scenario.requests_per_s * scenario.num_rounds / (scenario.num_rounds - 1)
    assert abs(asked - span_s * rate) <= scenario.num_users + scenario.num_rounds


def test_a_prompt_holds_earlier_rounds_and_answers() -> None:
    """Round n + 1 starts with round n's prompt and its answer, so its prefix keys do, and adds one
    question.
    """
    session = Conversation(scenario=CHAT, user=1, number=1, start_ns=0, num_rounds=4)
    for index in range(3):
        earlier, later = session.request(index, index, 0), session.request(index + 1, index + 1, 0)
        assert earlier.answer is not None
        known = (*earlier.prompt, Span(content=earlier.answer, num_tokens=earlier.output_tokens))
        assert later.prompt[: len(known)] == known
        assert later.prompt_tokens == earlier.prompt_tokens + 3 + 7
        assert prefix_keys(later.prompt, 10)[: len(prefix_keys(known, 10))] == prefix_keys(
            known, 10
        )


def test_users_share_the_system_prompt_and_no_more() -> None:
    """Two users' prompts have equal keys over the system prompt, different ones behind it."""
    first, second = (
        Conversation(scenario=CHAT, user=user, number=user, start_ns=0, num_rounds=4).request(
            0, 0, 0
        )
        for user in (0, 1)
    )
    mine, theirs = prefix_keys(first.prompt, 25), prefix_keys(second.prompt, 25)
    assert [a == b for a, b in zip(mine, theirs, strict=True)] == [True] * 4 + [False] * 2


def test_the_next_round_waits_for_the_answer() -> None:
    """A round comes a gap after the one before, or when that one ends, if later."""
    session = Conversation(scenario=CHAT, user=0, number=0, start_ns=0, num_rounds=4)
    assert session.next_arrival_ns(0, 10) == CHAT.gap_ns == round(2.5 * NS_PER_S)
    assert session.next_arrival_ns(0, 9 * NS_PER_S) == 9 * NS_PER_S


def test_the_active_users_are_as_many_as_stated() -> None:
    """Once under way, the sessions between their first and last round are num_users, give or take
    the one that changes.
    """
    requests = list(islice(CHAT.requests(), 400))[100:300]
    active = {request.session for request in requests[:5]}
    assert len(active) in (4, 5)


@pytest.mark.parametrize("name", request_names())
def test_shipped_requests_load_and_run(name: str) -> None:
    """Each shipped file is named as it says, has as many requests as it says, and repeats itself."""
    spec = load_requests(name)
    made = list(spec.requests(seed=3))
    assert spec.name == name and len(made) == spec.num_requests
    assert made == list(spec.requests(seed=3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "key name is missing"),
        (
            "{name: a, source: b, date: 2025}",
            "exactly one of the keys multi_round, lengths and trace must be given, got none",
        ),
        (
            "{name: a, source: b, date: 2025, lengths: {prompt_tokens: 5, output_tokens: 1}}",
            "lengths needs the key num_requests",
        ),
        (
            "{name: a, source: b, date: 2025, num_requests: 2, lengths: {prompt_tokens: 5, output_tokens: 1}, arrivals: {process: gamma}}",
            "process gamma needs the key requests_per_s",
        ),
        ("{name: a, source: b, date: 2025, trase: x}", "unknown key trase; did you mean 'trace'"),
        ("{name: a, source: b, date: 2025, trace: absent.csv}", "cannot read request trace"),
    ],
)
def test_a_wrong_request_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    """The key and what would be right."""
    path = tmp_path / "requests.yaml"
    path.write_text(
        text.replace("{", "{format: rosin-requests/1, ", 1)
        if text != "{}"
        else "{format: rosin-requests/1}",
        encoding="utf-8",
    )
    with pytest.raises(InputError) as caught:
        load_requests(str(path))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_runs_a_trace_at_a_rate(tmp_path: Path) -> None:
    """A request file beside a trace gives the trace's requests at its own times, and stops where it
    says.
    """
    (tmp_path / "list.csv").write_text(
        "prompt_tokens,output_tokens\n" + "10,2\n" * 9, encoding="utf-8"
    )
    head, arrivals = (
        "format: rosin-requests/1, name: a, source: b, date: 2025",
        "arrivals: {process: even, requests_per_s: 4}",
    )
    text = f"{{{head}, trace: list.csv, num_requests: 5, {arrivals}}}"
    (tmp_path / "requests.yaml").write_text(text, encoding="utf-8")
    arrivals_ns = [
        request.arrival_ns for request in load_requests(str(tmp_path / "requests.yaml")).requests()
    ]
    assert arrivals_ns == [number * NS_PER_S // 4 for number in range(5)]


def test_wrong_parameters_are_named() -> None:
    """A scenario without users is refused by name and value."""
    with pytest.raises(ValueError, match=r"num_users\s.*greater than or equal to 1.*input_value=0"):
        MultiRound(
            num_users=0,
            num_rounds=2,
            system_tokens=1,
            history_tokens=1,
            question_tokens=1,
            answer_tokens=1,
            requests_per_s=1.0,
        )
