"""The choice of a way to run experts: its order, ends and risk, and what does not fit."""

from dataclasses import replace

import pytest

from hwprofiles import load_machine
from planner.choice import ChoiceQuestion, choice_question, choose
from sim.model.library import load_model
from sim.runtimes.model_files import load_model_for

PC = "RTX 5090 + Ryzen 9 9950X + 2x64GB DDR5-5600"
SMALL = "RTX 4090 + Ryzen 9 7950X + 2x16GB DDR5-5600"


def _question(machine: str = PC, model: str = "gpt-oss-120b") -> ChoiceQuestion:
    file = load_model_for("llama.cpp", model, "MXFP4")
    return choice_question(
        load_machine(machine), file.model, "MXFP4", 512, 256, checkpoint=load_model(model)
    )


def test_each_program_has_its_own_file() -> None:
    """FreeToken loads the checkpoint, whose part beside the experts is twice as large as in GGUF."""
    question = _question()
    own = {arm.arm.arm: arm for arm in choose(question).arms}
    one_file = {
        arm.arm.arm: arm for arm in choose(replace(question, checkpoint=question.model)).arms
    }
    for name, arm in own.items():
        assert arm.arm.program in ("FreeToken", "llama.cpp") or "patch" in arm.arm.program
        is_slower = arm.decode.tokens_per_s < one_file[name].decode.tokens_per_s
        assert is_slower == (arm.arm.program == "FreeToken")


def test_a_program_that_cannot_load_the_format_is_left_out() -> None:
    """Of a GGUF file FreeToken has no way, and says so; the other ways stay."""
    file = load_model_for("llama.cpp", "qwen3-30b-a3b", "Q4_K_M").model
    machine = load_machine("RTX 4060 + Ryzen 9 9950X + 2x64GB DDR5-5600")
    choice = choose(choice_question(machine, file, "Q4_K_M", 512, 256, checkpoint=None))
    names = {own.arm.arm for own in choice.arms}
    assert names == {"static layers", "expert cache", "expert cache, misses split"}
    reasons = {own.arm: own.reason for own in choice.left_out}
    assert reasons == dict.fromkeys(
        ("fetch", "hybrid"), "FreeToken loads checkpoints, and none in Q4_K_M"
    )


def test_best_comes_first() -> None:
    """Arms are in the order of their whole request, and all four ways are there."""
    choice = choose(_question())
    seconds = [own.expected_s for own in choice.arms]
    assert seconds == sorted(seconds)
    names = {own.arm.arm for own in choice.arms}
    assert names >= {"static layers", "expert cache", "fetch", "hybrid"}


def test_ends_and_risk_are_consistent() -> None:
    """Each speed lies within its ends; the slower arm risks more; risk lies between 0 and 1."""
    arms = choose(_question()).arms
    for own in arms:
        for speed in (own.decode, own.prefill):
            assert speed.low_tokens_per_s < speed.tokens_per_s < speed.high_tokens_per_s
        assert 0 <= own.regret_fraction < 1
    assert arms[0].regret_fraction < arms[-1].regret_fraction
    loss = 1 - arms[0].request_s / arms[-1].request_s
    assert arms[-1].regret_fraction > loss


def test_measured_rate_of_both_narrows_the_risk() -> None:
    """A machine whose rate of CPU and link at once is known risks less than one where it is estimated."""
    unknown = _question()
    known = replace(unknown, rates=replace(unknown.rates, both_bytes_per_s=73e9))
    hybrid = {own.arm.arm: own for own in choose(known).arms}["hybrid"]
    before = {own.arm.arm: own for own in choose(unknown).arms}["hybrid"]
    assert hybrid.expected_s / hybrid.request_s < before.expected_s / before.request_s


def test_slower_link_turns_from_fetch_to_the_cpu() -> None:
    """With a link of a tenth the rate, copying every miss is slower than leaving most to the CPU."""
    question = _question()
    gpus = tuple(replace(gpu, link_bytes_per_s=3e9) for gpu in question.host.gpus)
    slow = replace(question, host=replace(question.host, gpus=gpus))
    speed = {own.arm.arm: own.decode.tokens_per_s for own in choose(slow).arms}
    assert speed["fetch"] < speed["hybrid"]
    assert speed["fetch"] < speed["expert cache, misses split"]


def test_model_that_fits_needs_no_cache() -> None:
    """Where every expert fits on the GPU there is one way, and the others say so."""
    choice = choose(_question(model="gpt-oss-20b"))
    assert [own.arm.arm for own in choice.arms] == ["static layers"]
    assert {own.reason for own in choice.left_out} == {"every expert fits on the GPU"}


def test_model_that_fits_nowhere_leaves_no_arm() -> None:
    """Where host memory is too small for what stays there, each way says by how much."""
    choice = choose(_question(SMALL))
    assert choice.arms == ()
    assert all("too small" in own.reason for own in choice.left_out)


@pytest.mark.parametrize("tokens", [128, 4096])
def test_more_bandwidth_is_never_slower(tokens: int) -> None:
    """A host with twice the memory rate decodes faster under every arm."""
    question = replace(_question(), output_tokens=tokens)
    rate = question.host.dram_bytes_per_s
    assert rate is not None
    fast = replace(question, host=replace(question.host, dram_bytes_per_s=2 * rate))
    slow_arms = {own.arm.arm: own.decode.tokens_per_s for own in choose(question).arms}
    for own in choose(fast).arms:
        assert own.decode.tokens_per_s >= slow_arms[own.arm.arm]


def test_second_card_never_makes_a_choice_slower() -> None:
    """Each way may leave the slower card out, so none is slower than on the faster card alone."""
    both = _question("RTX 4090 + RTX 3060 12GB + Ryzen 9 7950X + 2x48GB DDR5-5600")
    alone = choose(both.on((0,)))
    together = {own.arm.arm: own.request_s for own in choose(both).arms}
    for own in alone.arms:
        assert together[own.arm.arm] <= own.request_s * (1 + 1e-9)


def test_whole_layers_fill_both_cards() -> None:
    """With two cards more layers lie on GPUs than with the faster one alone."""
    both = _question("RTX 4090 + RTX 3060 12GB + Ryzen 9 7950X + 2x48GB DDR5-5600")

    def layers(question: ChoiceQuestion) -> int:
        return next(o.arm for o in choose(question).arms if o.arm.cached is None).expert_layers

    assert layers(both) > layers(both.on((0,)))
