"""What prices of llama.cpp know of its kernels by format and build, and of cards that it uses badly."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.model.model import Model
from sim.runtimes.predict import predict
from sim.runtimes.prompt_kernels import prompt_kernel_factor
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.steps import steps_of
from tests.sim.runtimes.drawn import models
from tests.sim.runtimes.examples import DESKTOP, GPU, NO_GPU, question

SERVER_CARD = replace(DESKTOP, gpus=(replace(GPU, is_server_card=True),))


@pytest.mark.parametrize(
    ("runtime", "name", "factor"),
    [
        ("llama.cpp", "Q4_0", 154 / 81),
        ("llama.cpp", "UD-Q2_K_XL", 122 / 81),
        ("llama.cpp", "IQ2_XXS", 46 / 81),
        ("llama.cpp", "iq4_xs", 74 / 81),
        ("llama.cpp", "MXFP4_MOE", 1.0),
        ("ik_llama.cpp", "IQ2_XXS", 1.0),
        ("ktransformers", "Q4_0", 1.0),
    ],
)
def test_kernels_of_a_prompt_differ_by_format_in_llama_cpp(
    runtime: str, name: str, factor: float
) -> None:
    """As they were measured; what was not measured, and other programs, take the median."""
    arguments = "" if runtime == "ktransformers" else "-t 16"
    asked = question(arguments, runtime=runtime)
    assert prompt_kernel_factor(asked, name) == pytest.approx(factor)


def test_a_prompt_on_the_cpu_takes_its_format_s_time() -> None:
    """Where products take all of the time, two formats differ as their kernels do."""
    host = replace(NO_GPU, dram_bytes_per_s=1e15)
    fast, slow = (
        predict(question("-t 16", host=host, quantization=name)).prefill.seconds["cpu_experts"]
        for name in ("Q4_0", "IQ3_S")
    )
    assert slow / fast == pytest.approx(154 / 30, rel=1e-3)


@pytest.mark.parametrize(
    ("runtime", "since"), [("llama.cpp", 13199), ("ik_llama.cpp", 728), ("ktransformers", None)]
)
def test_old_builds_loop_over_experts(runtime: str, since: int | None) -> None:
    """Until one kernel multiplied by all of them, each cost launches of its own."""
    arguments = "" if runtime == "ktransformers" else "-ngl 99"
    asked = question(arguments, runtime=runtime)
    if since is None:
        assert not steps_of(replace(asked, build=1)).prefill.loops_over_experts
        return
    before, after = (replace(asked, build=build) for build in (since - 1, since))
    assert steps_of(before).prefill.loops_over_experts
    assert not steps_of(after).prefill.loops_over_experts
    assert predict(before).prefill.tokens_per_s < predict(after).prefill.tokens_per_s


@given(models, st.integers(0, 99), st.booleans())
@settings(max_examples=25)
def test_a_server_card_decodes_slower(model: Model, layers: int, is_cpu_moe: bool) -> None:
    """By no more than its factor, as work on the CPU stays; prompts are priced alike."""
    line = f"-ngl {layers} {'-cmoe' if is_cpu_moe else ''}"
    usual = predict(question(line, model=model))
    slow = predict(question(line, model=model, host=SERVER_CARD))
    ratio = usual.decode.tokens_per_s / slow.decode.tokens_per_s
    assert 1 <= ratio < 2.5
    assert (ratio > 1) == (layers > 0)
    assert slow.prefill.tokens_per_s == usual.prefill.tokens_per_s


def test_a_whole_model_on_a_server_card_has_a_wider_range() -> None:
    """Cards differ in how badly they are used."""
    ranges = [predict(question("-ngl 99", host=host)).decode for host in (DESKTOP, SERVER_CARD)]
    usual, slow = (own.high_tokens_per_s / own.low_tokens_per_s for own in ranges)
    assert slow > usual * 1.3


def test_programs_with_kernels_of_their_own_are_not_slower() -> None:
    """No such figures are known of vLLM."""

    def _asked(is_server_card: bool) -> RuntimeQuestion:
        card = replace(GPU, is_server_card=is_server_card)
        return question("", runtime="vllm", host=replace(DESKTOP, gpus=(card,)))

    assert predict(_asked(True)).decode == predict(_asked(False)).decode
