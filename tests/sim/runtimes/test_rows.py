"""Matrices split by rows over GPUs: what is read, what passes between devices, and a published case."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import load_machine
from sim.model.library import load_model
from sim.model.model import Model
from sim.runtimes import (
    RuntimeHost,
    RuntimePrediction,
    RuntimeQuestion,
    memory_of,
    placement_of,
    predict,
    read_runtime_arguments,
    runtime_host,
)
from tests.sim.runtimes.drawn import llama_lines, models
from tests.sim.runtimes.examples import DESKTOP, GPU, deepseek, question

TWO = replace(DESKTOP, gpus=(GPU, GPU))
CASE = Path(__file__).resolve().parents[4] / "shared" / "cases" / "second-gpu-slower" / "m.yaml"


def _predicted(arguments: str, host: RuntimeHost) -> RuntimePrediction:
    return predict(question(arguments, model=deepseek(), host=host))


@given(models, st.integers(2, 4))
@settings(max_examples=15)
def test_rows_divide_what_each_card_holds(model: Model, count: int) -> None:
    """Like cards hold as much each of the matrices beside experts, and nothing is lost."""
    host = replace(DESKTOP, gpus=(GPU,) * count)
    split_question = question("-ngl 99 -cmoe -sm row", model=model, host=host)
    split = memory_of(split_question, placement_of(split_question))
    whole_question = question("-ngl 99 -cmoe -sm none", model=model, host=host)
    whole = memory_of(whole_question, placement_of(whole_question))
    held = [split[f"gpu{index}"].weights for index in range(count)]
    assert sum(held) == pytest.approx(whole["gpu0"].weights, abs=2 * count)
    assert max(held[1:]) <= min(held[1:]) + 1
    assert held[0] >= held[1] - 1


def test_rows_read_at_both_rates() -> None:
    """Weights on the GPUs are read in less time; changes of device cost more than that."""
    one = _predicted("-ngl 99 -cmoe", DESKTOP).decode
    rows = _predicted("-ngl 99 -cmoe -sm row", TWO).decode
    assert rows.seconds["gpu_weights"] < one.seconds["gpu_weights"]
    assert rows.seconds["crossings"] > 2 * one.seconds["crossings"]


@given(models, llama_lines(without=("-sm", "-ngl")))
@settings(max_examples=15)
def test_one_card_has_no_rows_to_split(model: Model, line: str) -> None:
    """On one GPU -sm row changes nothing."""
    plain, rows = (
        predict(question(f"-ngl 99 {line} {each}", model=model)) for each in ("", "-sm row")
    )
    assert rows == plain


@pytest.mark.skipif(not CASE.exists(), reason="needs ../shared/cases")
def test_second_card_is_slower_where_it_was_measured_so() -> None:
    """A second RTX 5060 Ti took DeepSeek-V3 from 3.4 to 2.8 tokens/s, all experts on the CPU (fastllm issue 528)."""
    machine = load_machine(str(CASE))
    model = load_model("deepseek-v3", "4bit")
    host = runtime_host(machine)

    def speed(arguments: str, num_gpus: int) -> float:
        asked = RuntimeQuestion(
            runtime="llama.cpp",
            arguments=read_runtime_arguments("llama.cpp", arguments),
            model=model,
            quantization="4bit",
            host=replace(host, gpus=host.gpus[:num_gpus]),
        )
        return predict(asked).decode.tokens_per_s

    one = speed("-ngl 99 -cmoe", 1)
    assert one == pytest.approx(3.4, rel=0.3)
    assert speed("-ngl 99 -cmoe", 2) < one
    assert 0.75 < speed("-ngl 99 -cmoe -sm row", 2) / one < 0.95
