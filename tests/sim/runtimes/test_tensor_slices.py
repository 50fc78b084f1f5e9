"""Slices of every matrix over GPUs (llama.cpp's -sm tensor): how widths are cut, what GPUs hold, what passes, and published pairs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, load_machine
from sim.model.model import Model
from sim.runtimes import (
    RuntimeQuestion,
    kernel_format,
    memory_of,
    notes_on,
    placement_of,
    predict,
    read_runtime_arguments,
    runtime_host,
)
from sim.runtimes.model_files import load_model_for
from sim.runtimes.slices import cut
from sim.runtimes.work import has_compressed_cache
from tests.sim.runtimes.drawn import models
from tests.sim.runtimes.examples import DESKTOP, GPU, deepseek, question

TWO = replace(DESKTOP, gpus=(GPU, GPU))


@given(
    st.integers(1, 5000),
    st.sampled_from((1, 128, 256)),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5),
    st.integers(0, 4),
)
def test_cuts_are_whole_units_and_lose_nothing(
    width: int, unit: int, shares: list[float], first: int
) -> None:
    """Parts add up to the width; all but the one served last are whole units, at most a share and one unit."""
    parts = cut(width, unit, shares, first % len(shares))
    assert parts.sum() == pytest.approx(1.0)
    assert (parts >= 0).all()
    last = (first % len(shares) - 1) % len(shares)
    for gpu, part in enumerate(parts):
        if gpu != last:
            assert part * width == pytest.approx(round(part * width / unit) * unit, abs=1e-6)
            assert part * width <= width * shares[gpu] / sum(shares) + unit


def test_narrow_experts_are_cut_unevenly() -> None:
    """Qwen3-30B's experts are 768 wide, three blocks of a K format: one GPU has one of them, the other two."""
    assert cut(768, 256, (0.5, 0.5), 0).tolist() == pytest.approx([1 / 3, 2 / 3])
    assert cut(768, 256, (0.5, 0.5), 1).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert cut(768, 128, (0.5, 0.5), 0).tolist() == [0.5, 0.5]


@given(models, st.integers(2, 4))
@settings(max_examples=15)
def test_like_cards_hold_alike_and_nothing_is_lost(model: Model, count: int) -> None:
    """GPUs hold together what one would, and further copies of what is not cut."""
    assume(not has_compressed_cache(model))
    host = replace(DESKTOP, gpus=(GPU,) * count)
    asked = question("-ngl 99 -cmoe -sm tensor", model=model, host=host)
    placement = placement_of(asked)
    split = memory_of(asked, placement)
    alone = question("-ngl 99 -cmoe -sm none", model=model, host=host)
    whole = memory_of(alone, placement_of(alone))
    held = [split[f"gpu{index}"] for index in range(count)]
    assert placement.slices is not None
    assert split["host"] == replace(whole["host"], compute=split["host"].compute)
    weights = sum(each.weights for each in held)
    assert whole["gpu0"].weights - count <= weights <= count * whole["gpu0"].weights + count
    assert sum(each.kv for each in held) == pytest.approx(whole["gpu0"].kv, abs=count)
    # Shares of each layer add up to 1 wherever something is cut.
    assert placement.slices.attention.sum(axis=1) == pytest.approx(np.ones(model.num_layers))
    assert placement.slices.experts.sum(axis=1) == pytest.approx(np.ones(model.num_layers))


@given(models)
@settings(max_examples=10)
def test_one_gpu_has_no_slices(model: Model) -> None:
    """With one GPU decoding is what it is without -sm tensor."""
    plain, split = (
        predict(question(f"-ngl 99 -cmoe {each}", model=model)).decode
        for each in ("", "-sm tensor")
    )
    assert split == plain


def test_prompts_leave_host_experts_to_the_cpu() -> None:
    """No weights are copied for a prompt, which then takes longer than with whole layers on GPUs.

    On two R9700 with Qwen3.6-35B's experts in host memory: 523 and 2,708 tokens/s (pp8192, -ub 8192;
    github.com/stew675/llama-cpp-rdna-boosts, wip/h2d-staging-ring).
    """
    layers, slices = (
        predict(
            _asked(
                "2x Radeon AI PRO R9700 + Ryzen 9 9950X + 2x32GB DDR5-5600",
                "qwen3.6-35b-a3b",
                "UD-Q4_K_M",
                f"-ngl 99 -ncmoe 99 -b 8192 -ub 8192 {mode}",
                prompt_tokens=8192,
            )
        )
        for mode in ("", "-sm tensor")
    )
    assert layers.is_prompt_uploaded and not slices.is_prompt_uploaded
    assert slices.prefill.tokens_per_s < 0.5 * layers.prefill.tokens_per_s


def _asked(
    machine: str, name: str, quantization: str, line: str, prompt_tokens: int = 512
) -> RuntimeQuestion:
    file = load_model_for("llama.cpp", name, quantization)
    return RuntimeQuestion(
        runtime="llama.cpp",
        arguments=read_runtime_arguments("llama.cpp", line),
        model=file.model,
        quantization=kernel_format(file.model, file.quantization),
        host=runtime_host(load_machine(machine)),
        prompt_tokens=prompt_tokens,
    )


PAIRS = {
    "2x RTX 5060 Ti 16GB": ("qwen3.5-27b", "Q4_K_M", 22.1, 37.1),
    "RTX 3060 12GB + RTX 4070 Super": ("qwen3.5-27b", "Q4_K_M", 21.22, 30.05),
    "2x Radeon AI PRO R9700": ("qwen3.5-27b", "Q8_0", 19.5, 28.9),
    "RTX 3060 12GB + Tesla P100 16GB": ("qwen3.5-27b", "Q4_K_M", 13.8, 19.3),
    "2x RTX 4090": ("glm-4.5-air", "IQ2_XXS", 120.6, 92.6),
    "4x RTX 4090": ("gpt-oss-120b", "MXFP4", 180.4, 179.8),
}
"""Tokens/s with whole layers and with slices: sudoingX/qwen38-mtp pull requests 24 and 78 (Qwen3.8-27B,
the shape of Qwen3.5-27B), a fork's llama-bench (RTX 3060 beside RTX 4070 Super), llama-bench on two R9700,
llama.cpp pull request 19378 (both rows of RTX 4090).
"""


@pytest.mark.parametrize("gpus", PAIRS)
def test_slices_gain_or_lose_what_was_published(gpus: str) -> None:
    """Where slices were measured faster than whole layers they are predicted so, by about as much, and where slower too."""
    name, quantization, layers, slices = PAIRS[gpus]
    machine = f"{gpus} + Threadripper 7960X + 4x64GB DDR5-5200"
    found = [
        predict(_asked(machine, name, quantization, f"-ngl 99 -ts {_alike(gpus)} -sm {mode}"))
        for mode in ("layer", "tensor")
    ]
    ratio = found[1].decode.tokens_per_s / found[0].decode.tokens_per_s
    assert ratio == pytest.approx(slices / layers, rel=0.15)


def _alike(gpus: str) -> str:
    """Equal shares for the GPUs of a line."""
    count = int(gpus[0]) if gpus[1] == "x" else gpus.count("+") + 1
    return ",".join(["1"] * count)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-fa off", r"-sm tensor: flash attention is needed, got -fa off"),
        ("--moe-cache-mib 1000", r"-sm tensor: what --moe-cache-mib does"),
        ("-ot exps=CUDA1", r"-ot exps=CUDA1: with -sm tensor all GPUs are one device"),
    ],
)
def test_what_llama_cpp_refuses_is_refused(line: str, message: str) -> None:
    """What does not go with -sm tensor is one line that says so."""
    asked = _asked(
        "2x RTX 3090 + Ryzen 9 5950X + 4x32GB DDR4-3200",
        "qwen3-30b-a3b",
        "Q4_K_M",
        f"-ngl 99 -sm tensor {line}",
    )
    with pytest.raises(InputError, match=message):
        predict(asked)


def test_compressed_caches_are_not_split() -> None:
    """DeepSeek's attention has one cache for all heads, which llama.cpp does not slice."""
    with pytest.raises(InputError, match="compressed cache"):
        predict(question("-ngl 99 -cmoe -sm tensor", model=deepseek(), host=TWO))


def test_notes_say_what_builds_do() -> None:
    """Of -sm row that CUDA builds refuse it now, of -sm tensor that prompts stay on the CPU; of layers nothing."""
    machine = "2x RTX 3090 + Ryzen 9 5950X + 4x32GB DDR4-3200"
    said = {
        mode: " ".join(
            notes_on(_asked(machine, "qwen3-30b-a3b", "Q4_K_M", f"-ngl 99 -cmoe -sm {mode}"))
        )
        for mode in ("layer", "row", "tensor")
    }
    assert "since b9890" in said["row"]
    assert "experimental" in said["tensor"]
    assert "the CPU computes experts in host memory" in said["tensor"]
    assert "-sm" not in said["layer"]
