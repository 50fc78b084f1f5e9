"""Closed forms of moving and reusing KV: published figures, the recurrences behind them, and their
limits.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import Kind, load_machine
from hwprofiles.units import BITS_PER_BYTE, GIGA, NS_PER_S
from sim.model.library import load_model, model_names
from sim.serving.blend import Blend
from sim.serving.kv import (
    HOST_TO_GPU,
    Compute,
    crossover_tokens,
    least_bytes_per_s,
    mooncake_bytes_per_s,
    prefill_flops,
)
from sim.serving.lines import pipelined

PAGE_TOKENS, CHUNK_TOKENS = 16, 256
GBIT = GIGA / BITS_PER_BYTE

times = st.integers(0, 10**6)
layers = st.integers(1, 40)


def test_pages_and_chunks_reach_the_published_rates() -> None:
    """Llama-3.1-8B, CPU to GPU: 88 Gbit/s with a page of one layer as message, 400 with a chunk of
    all layers; within 5 %.
    """
    model = load_model("llama-3.1-8b")
    page = PAGE_TOKENS * model.kv_bytes_per_token / model.num_layers
    chunk = CHUNK_TOKENS * model.kv_bytes_per_token
    assert HOST_TO_GPU.effective_bytes_per_s(page) / GBIT == pytest.approx(88, rel=0.05)
    assert HOST_TO_GPU.effective_bytes_per_s(chunk) / GBIT == pytest.approx(400, rel=0.05)


@given(st.integers(1, 10**10), st.integers(1, 10**5))
def test_transfers_add_up(num_bytes: int, num_messages: int) -> None:
    """As many messages cost their fixed parts, and no message beats the rate; the fit says that
    it is one.
    """
    channel = HOST_TO_GPU
    duration = channel.duration_ns(num_bytes, num_messages)
    assert duration == pytest.approx(
        channel.duration_ns(num_bytes) + (num_messages - 1) * channel.message_ns
    )
    assert channel.effective_bytes_per_s(num_bytes) < channel.bytes_per_s
    assert channel.provenance.kind is Kind.FITTED


@given(times, times, layers)
def test_the_pipeline_is_its_recurrence(load: int, compute: int, num_layers: int) -> None:
    """Layer i loads once layer i - 2 has computed (two buffers) and computes once it is loaded and
    layer i - 1 has computed.
    """
    loaded, computed = 0, [0, 0]
    for _ in range(num_layers):
        loaded = max(loaded, computed[-2]) + load
        computed.append(max(loaded, computed[-1]) + compute)
    works = (num_layers * load, num_layers * compute)
    made = pipelined(works, num_layers)
    assert made == computed[-1]
    assert max(works) <= made <= pipelined(works, 1) == sum(works)


@given(times, times, layers, st.floats(0, 1))
def test_blending_lies_between_loading_and_computing(
    load: int, compute: int, num_layers: int, fraction: float
) -> None:
    """Never faster than loading all, never slower than the longer of both throughout; recomputing
    all is that; without check layers it is faster.
    """
    loads, full, mended = (
        num_layers * load,
        num_layers * compute,
        num_layers * int(fraction * compute),
    )
    blended = Blend().duration(loads, full, mended, num_layers)
    assert loads <= blended <= max(loads, full)
    assert Blend().duration(loads, full, full, num_layers) == max(loads, full)
    assert Blend(num_check_layers=0).duration(loads, full, mended, num_layers) <= blended


@pytest.mark.parametrize(("machine", "published"), [("a800-x8", 6), ("h800-x8", 19)])
def test_mooncakes_criterion_gives_its_figures(machine: str, published: int) -> None:
    """Llama-3-70B with a prefix of 8,192 tokens, peaks of the datasheets: 6 GB/s on 8x A800, 19
    GB/s on 8x H800, as rounded there.
    """
    compute = Compute.of(load_machine(machine), is_peak=True)
    assert round(mooncake_bytes_per_s(load_model("llama-3-70b"), 8192, compute) / GIGA) == published


def test_mooncakes_coefficients_are_near_the_models_own() -> None:
    """For Llama-3-70B, b = 22 leaves out little: the model's own count asks for 5 to 20 % less, as
    half of causal attention is skipped and its layers have 25.5 d² FLOPs."""
    model, compute = load_model("llama-3-70b"), Compute(flops_per_s=1e15)
    ratio = least_bytes_per_s(model, 8192, compute) / mooncake_bytes_per_s(model, 8192, compute)
    assert 0.8 < ratio < 1.0
    layer = 2 * model.layers[0].dense_params / model.hidden**2
    assert layer == pytest.approx(25.5, abs=0.05)


@pytest.mark.parametrize("name", model_names())
def test_a_prompt_costs_the_sum_of_its_tokens(name: str) -> None:
    """FLOPs by token and context, summed one by one, windows and all, equal the closed form within
    the half of self-attention.
    """
    model, tokens = load_model(name), 300
    head = sum(model.top_params.get(part, 0) for part in ("embedding", "head"))
    total = 0.0
    for position in range(tokens):
        for layer in model.layers:
            total += 7 * layer.state_elements
            attention = layer.attention
            if attention is None:
                continue
            for cache in attention.caches:
                seen = min(position, cache.window_tokens or position) + 0.5
                seen = min(seen, cache.chosen_tokens or seen)
                total += 2 * cache.pair_elements * seen / cache.tokens_per_entry
        total += 2 * (model.active_params - head)
    assert prefill_flops(model, tokens) == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.3-70b", "gpt-oss-120b", "deepseek-v3"])
@given(st.floats(1e8, 1e12))
def test_the_crossover_is_where_both_take_as_long(name: str, bytes_per_s: float) -> None:
    """Just there loading is faster, one token before it is not; a faster way never moves it up."""
    model, compute = load_model(name), Compute(flops_per_s=1e15)
    tokens = crossover_tokens(model, compute, bytes_per_s)
    if tokens is None:
        assert model.kv_bytes(2**24) / bytes_per_s * NS_PER_S >= compute.prefill_ns(model, 2**24)
        return
    assert model.kv_bytes(tokens) / bytes_per_s * NS_PER_S < compute.prefill_ns(model, tokens)
    if tokens > 1:
        assert model.kv_bytes(tokens - 1) / bytes_per_s * NS_PER_S >= compute.prefill_ns(
            model, tokens - 1
        ) * (1 - 1e-9)
    assert (crossover_tokens(model, compute, 2 * bytes_per_s) or 0) <= tokens


def test_mistakes_are_named() -> None:
    """A fraction above 1, a number of layers below 0."""
    with pytest.raises(ValueError, match="recompute_fraction"):
        Blend(recompute_fraction=2.0)
    with pytest.raises(ValueError, match="num_check_layers"):
        Blend(num_check_layers=-1)
