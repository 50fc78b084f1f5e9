"""Drafts that one step checks: tokens kept, experts read, and when they pay."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError, load_machine
from planner.choice import ChoiceQuestion, Drafts, choice_question, choose, with_drafts
from sim.model.library import load_model
from sim.runtimes.drafts import MAX_DRAFTS, committed_tokens, distinct_experts, reads_factor

QWEN = [(128, 8)]


def test_distinct_experts_near_recorded() -> None:
    """DeepSeek-V2-Lite's chats choose 11.2, 33.0 and 59.1 of 64 experts in 2, 8 and 32 tokens: within 6 %."""
    for tokens, recorded in ((2, 11.2), (8, 33.0), (32, 59.1)):
        assert distinct_experts(64, 6, tokens) == pytest.approx(recorded, rel=0.06)


def _question() -> ChoiceQuestion:
    machine = load_machine("RTX 5090 + Ryzen 9 9950X + 2x64GB DDR5-5600")
    model = load_model("qwen3-235b-a22b", "Q2_K")
    return choice_question(machine, model, "Q2_K", 128, 128, checkpoint=model)


def test_no_drafts_change_nothing() -> None:
    """A step without drafts is a plain step under every arm."""
    question = _question()
    none = Drafts(num_drafts=0, acceptance_fraction=0.5, cost_fraction=0.1)
    for own in choose(question).arms:
        found = with_drafts(question, own.arm, none)
        assert found.tokens_per_s == pytest.approx(own.decode.tokens_per_s, rel=1e-9)


def test_drafts_pay_by_acceptance() -> None:
    """Layers on the CPU gain from drafts that are nearly always kept, and lose from others."""
    question = _question()
    static = next(own.arm for own in choose(question).arms if own.arm.cached is None)
    likely = Drafts(num_drafts=3, acceptance_fraction=0.95, cost_fraction=0.02)
    assert with_drafts(question, static, likely).pays
    assert not with_drafts(question, static, replace(likely, acceptance_fraction=0.3)).pays


LAYERS = st.lists(
    st.integers(1, 512).flatmap(
        lambda num_experts: st.tuples(st.just(num_experts), st.integers(1, num_experts))
    ),
    min_size=1,
    max_size=4,
)
COUNTS = st.integers(0, MAX_DRAFTS)
SHARES = st.floats(0, 1)


@given(COUNTS, SHARES)
def test_tokens_kept_are_a_geometric_sum(num_drafts: int, share: float) -> None:
    """No draft keeps one token, certain drafts keep all, others 1 + a + a² + …"""
    kept = committed_tokens(num_drafts, share)
    assert 1 <= kept <= num_drafts + 1
    assert kept * (1 - share) == pytest.approx(1 - share ** (num_drafts + 1))
    assert committed_tokens(num_drafts, 1.0) == num_drafts + 1


@given(LAYERS, COUNTS)
def test_tokens_choose_between_one_token_s_experts_and_all(
    layers: list[tuple[int, int]], num_tokens: int
) -> None:
    """One more token chooses more experts, but no more than top-k more."""
    for num_experts, top_k in layers:
        fewer, more = (
            distinct_experts(num_experts, top_k, count) for count in (num_tokens, num_tokens + 1)
        )
        assert fewer <= more <= min(num_experts, fewer + top_k) * (1 + 1e-9)
    assert distinct_experts(*layers[0], 1) == pytest.approx(layers[0][1])


@given(LAYERS, COUNTS, SHARES, SHARES)
def test_reads_fall_with_acceptance(
    layers: list[tuple[int, int]], num_drafts: int, share: float, other: float
) -> None:
    """Where no draft is rejected, no more is read than without; where all are, no less."""
    low, high = sorted((share, other))
    most, more, less, least = (
        reads_factor(layers, num_drafts, each) for each in (0.0, low, high, 1.0)
    )
    assert most * (1 + 1e-9) >= more >= less * (1 - 1e-9) >= least * (1 - 1e-9) ** 2
    assert least <= 1 + 1e-9
    assert most >= 1 - 1e-9


@pytest.mark.parametrize("num_drafts", [4, 6, 8])
def test_reads_are_as_published(num_drafts: int) -> None:
    """Where no draft is rejected, four to eight save 12 to 32 % of the reads; at an acceptance of 0.8
    and below they cost some.
    """
    assert 0.68 <= reads_factor(QWEN, num_drafts, 1.0) <= 0.89
    assert reads_factor(QWEN, num_drafts, 0.8) > 1


@given(st.integers() | COUNTS, st.floats() | SHARES)
def test_numbers_that_are_none_are_refused(num_drafts: int, share: float) -> None:
    """In one line; all others are taken."""
    if 0 <= num_drafts <= MAX_DRAFTS and 0 <= share <= 1:
        assert committed_tokens(num_drafts, share) >= 1
        return
    with pytest.raises(InputError, match="must hold, got"):
        committed_tokens(num_drafts, share)
