"""Drafts that one step checks: tokens kept, experts read, and when they pay."""

from dataclasses import replace

import pytest

from hwprofiles import InputError, load_machine
from planner.choice import ChoiceQuestion, Drafts, choice_question, choose, with_drafts
from sim.model.library import load_model
from sim.runtimes.drafts import committed_tokens, distinct_experts, reads_factor

QWEN = [(128, 8)]


def test_tokens_kept_by_hand() -> None:
    """No draft keeps one token; certain drafts keep all; others a geometric sum."""
    assert committed_tokens(0, 0.9) == 1
    assert committed_tokens(4, 1.0) == 5
    assert committed_tokens(4, 0.0) == 1
    assert committed_tokens(2, 0.5) == pytest.approx(1.75)


def test_distinct_experts_near_recorded() -> None:
    """DeepSeek-V2-Lite's chats choose 11.2, 33.0 and 59.1 of 64 experts in 2, 8 and 32 tokens: within 6 %."""
    for tokens, recorded in ((2, 11.2), (8, 33.0), (32, 59.1)):
        assert distinct_experts(64, 6, tokens) == pytest.approx(recorded, rel=0.06)


def test_certain_drafts_read_less() -> None:
    """Where no draft is rejected, four to eight save 12 to 32 % of the reads, as published."""
    for num_drafts in (4, 6, 8):
        assert 0.68 <= reads_factor(QWEN, num_drafts, 1.0) <= 0.89


@pytest.mark.parametrize("num_drafts", [1, 2, 4, 8])
def test_rejected_drafts_read_more(num_drafts: int) -> None:
    """At an acceptance of 0.8 and below, more experts are read for each token than without drafts."""
    for acceptance in (0.5, 0.8):
        assert reads_factor(QWEN, num_drafts, acceptance) > 1


@pytest.mark.parametrize(("num_drafts", "acceptance"), [(-1, 0.5), (65, 0.5), (2, 1.1)])
def test_mistakes(num_drafts: int, acceptance: float) -> None:
    """Numbers that are none are refused in one line."""
    with pytest.raises(InputError, match="must hold"):
        committed_tokens(num_drafts, acceptance)


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
