"""Placements: layers counted from the last, overrides in order, the KV cache with its layer, bytes
conserved.
"""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from hwprofiles.units import MIB
from sim.model.model import Model, TensorClass
from sim.runtimes.llama_cpp import read_llama_arguments
from sim.runtimes.llama_cpp.fit import ALL_OF_FEED_FORWARD, FitMemory, fitted_arguments
from sim.runtimes.llama_cpp.overrides import Override
from sim.runtimes.llama_cpp.placement import place
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.placing import placement_of
from sim.runtimes.tensors import layer_tensors
from tests.sim.runtimes.examples import DESKTOP, GPU, deepseek, question, qwen

HOST = -1
ONE = [24e9]
TWO = [24e9, 24e9]


def _placed(
    line: str, memories: list[float], model: Model | None = None, runtime: str = "llama.cpp"
) -> DevicePlacement:
    return place(model or qwen(), read_llama_arguments(line, runtime), memories)


def _expert_layers(placement: DevicePlacement, column: int) -> list[int]:
    return np.flatnonzero(placement.expert_fraction[:, column] > 0.99).tolist()


def test_ik_with_several_gpus_is_refused() -> None:
    """Which layers it then chooses is not known, so patterns must say them."""
    with pytest.raises(InputError, match="use -ot"):
        _placed("-ngl 99 -ncmoe 20", TWO, runtime="ik_llama.cpp")


def test_split_over_four_gpus_as_printed() -> None:
    """ik_llama.cpp shared 94 layers of Qwen3-235B-A22B over four equal cards as 24, 24, 24 and 22
    (discussion 491).
    """
    from sim.model.library import load_model

    placement = _placed(
        "-ngl 95", [24e9] * 4, load_model("qwen3-235b-a22b", "4bit"), "ik_llama.cpp"
    )
    assert [int(np.sum(placement.kv == gpu)) for gpu in range(4)] == [24, 24, 24, 22]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=16)
def test_random_plans_conserve_bytes(seed: int) -> None:
    """For random plans of single matrices, bytes by device equal those of matching each tensor's
    name by hand.
    """
    draw = random.Random(seed)
    gpu_layers = draw.choice([0, 2, 24, 48, 99])
    on_host = {
        (layer, name)
        for layer in range(48)
        for name in ("gate", "up", "down")
        if draw.random() < 0.5
    }
    patterns = [rf"blk\.{layer}\.ffn_{name}_exps" for layer, name in sorted(on_host)]
    line = f"-ngl {gpu_layers} " + " ".join(f"-ot '{pattern}=CPU'" for pattern in patterns)
    placement = _placed(line, ONE)
    first = max(49 - gpu_layers, 0)
    expected = 0
    for layer in range(48):
        for tensor in layer_tensors(qwen(), layer):
            found = any(re.search(pattern, tensor.name) for pattern in patterns)
            expected += tensor.num_bytes if layer >= first and not found else 0
    head = qwen().top_bytes[TensorClass.HEAD] if gpu_layers else 0
    assert placement.weight_bytes[1] == expected + head
    assert placement.weight_bytes.sum() == pytest.approx(qwen().total_bytes, abs=1e-3 * MIB + 1e6)


def test_fit_of_gpus_that_hold_nothing() -> None:
    """Everything stays on the host where not even the head fits a GPU."""
    tiny = replace(GPU, memory_bytes=1.2e9)
    placement = placement_of(
        question("-c 4096", model=deepseek(), host=replace(DESKTOP, gpus=(tiny, tiny)))
    )
    assert set(placement.attention.tolist()) == {HOST}
    assert placement.head == HOST


def test_fit_where_not_all_dense_parts_fit() -> None:
    """Layers go to a small GPU from the last on. Experts stay on the host, but for those of the first
    of these layers: llama.cpp counts the head as a layer whose experts do.
    """
    small = replace(DESKTOP, gpus=(replace(GPU, memory_bytes=12e9),))
    placement = placement_of(question("-c 4096", model=deepseek(), host=small))
    on_gpu = [layer for layer, device in enumerate(placement.attention) if device == 0]
    assert 0 < len(on_gpu) < 61
    assert on_gpu == list(range(61 - len(on_gpu), 61))
    assert _expert_layers(placement, 1) == on_gpu[:1]


@pytest.mark.parametrize(
    ("left_share", "pattern"),
    [(0.9, r"\.ffn_down.*"), (0.5, r"\.ffn_(gate|gate_up|down).*"), (0.1, ALL_OF_FEED_FORWARD)],
)
def test_fit_divides_the_first_layer_that_does_not_fit(left_share: float, pattern: str) -> None:
    """Its matrix up stays on the GPU, then gate too, as far as they fit."""
    model = qwen()
    experts = 128 * model.expert_bytes
    asked = read_llama_arguments("-c 4096")
    dense = sum(layer.dense_bytes for layer in model.layers) + model.top_bytes[TensorClass.HEAD]
    free = dense + (3 + left_share) * experts + asked.fit_margin_mib * MIB
    memory = FitMemory(free_bytes=[free], kv_bytes=[0.0] * 48, compute_bytes=[0.0])
    chosen = fitted_arguments(model, asked, memory, [0])
    first = chosen.placements[0]
    assert isinstance(first, Override)
    assert first.pattern == rf"blk\.3{pattern}"
    assert len(chosen.placements) == 45


COUNTS = st.integers(0, 120)
LAYER_SETS = st.sets(st.integers(0, 47), max_size=8)


@given(COUNTS, st.booleans())
@settings(max_examples=40)
def test_last_layers_and_the_head(count: int, is_ik: bool) -> None:
    """llama.cpp counts the head as a layer, which goes first; ik_llama.cpp counts layers alone, and
    more than there are take the head too. Layers follow from the last one, each with its cache.
    """
    placement = _placed(f"-ngl {count}", ONE, runtime="ik_llama.cpp" if is_ik else "llama.cpp")
    layers = min(count if is_ik else max(count - 1, 0), 48)
    assert np.flatnonzero(placement.attention == 0).tolist() == list(range(48 - layers, 48))
    assert (placement.head == 0) is (count > 48 if is_ik else count > 0)
    assert np.array_equal(placement.kv, placement.attention)
    assert set(_placed(f"-ngl {count} -nkvo", ONE).kv.tolist()) == {HOST}


@given(st.integers(0, 61), st.booleans())
@settings(max_examples=40)
def test_cpu_experts_from_the_first_or_the_last(count: int, is_ik: bool) -> None:
    """llama.cpp keeps the experts of the first layers on the CPU, dense ones counted; ik_llama.cpp
    those of the last. Work crosses there and back for each of them.
    """
    runtime = "ik_llama.cpp" if is_ik else "llama.cpp"
    placement = _placed(f"-ngl 99 -ncmoe {count}", ONE, deepseek(), runtime)
    chosen = range(61 - count, 61) if is_ik else range(count)
    layers = [layer for layer in chosen if layer >= 3]  # the first three are dense
    assert _expert_layers(placement, 0) == layers
    assert placement.num_crossings == 2 * len(layers)


@given(LAYER_SETS, LAYER_SETS)
@settings(max_examples=40)
def test_first_match_wins(first: set[int], second: set[int]) -> None:
    """An override before another takes the tensors that both find."""
    named = {
        name: "|".join(map(str, sorted(layers))) or "none"
        for name, layers in (("first", first), ("second", second))
    }
    line = (
        rf'-ngl 99 -ot "blk\.({named["first"]})\.ffn_.*_exps=CUDA0" '
        rf'-ot "blk\.({named["second"]})\.ffn_.*_exps=CPU" -ot exps=CUDA0'
    )
    assert _expert_layers(_placed(line, ONE), 0) == sorted(second - first)


@given(st.sets(st.sampled_from(["gate", "up", "down"])), st.integers(0, 47))
@settings(max_examples=30)
def test_single_matrices(matrices: set[str], layer: int) -> None:
    """A layer whose down matrices alone stay on the host has two thirds of its experts on the GPU."""
    overrides = " ".join(rf'-ot "blk\.{layer}\.ffn_{name}_exps=CPU"' for name in sorted(matrices))
    fractions = _placed(f"-ngl 99 {overrides}", ONE).expert_fraction
    away = len(matrices) / 3
    assert fractions[layer].tolist() == pytest.approx([away, 1 - away])
    assert np.delete(fractions, layer, axis=0)[:, 0].max() == 0


@given(st.integers(1, 40), st.sampled_from(["-ot exps=CUDA{}", "-dev CUDA{}"]))
@settings(max_examples=30)
def test_unknown_devices(number: int, words: str) -> None:
    """A GPU that the machine does not have is named."""
    with pytest.raises(InputError, match="machine has 1 GPUs"):
        _placed(f"-ngl 99 {words.format(number)}", ONE)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=4).filter(any), COUNTS)
@settings(max_examples=40)
def test_split_follows_its_shares(shares: list[int], count: int) -> None:
    """Each layer, the head counted, goes to the GPU whose cumulative share it falls in; so work
    crosses once from card to card, and touches the host once, where layers stay there.
    """
    memories = [24e9] * len(shares)
    line = f"-ngl {count} -ts {','.join(map(str, shares))}"
    placement = _placed(line, memories)
    on_gpus = min(count, 49)
    borders = np.cumsum(shares) / sum(shares)
    expected = [
        int(np.searchsorted(borders, place / on_gpus, side="right")) for place in range(on_gpus)
    ]
    homes = [*placement.attention.tolist(), int(placement.head)]
    assert homes == [HOST] * (49 - on_gpus) + expected
    assert placement.crossings_between_gpus == max(len(set(expected)) - 1, 0)
    assert placement.num_crossings == (1 if 1 < on_gpus < 49 else 0)


@given(st.integers(0, 99), st.booleans(), LAYER_SETS)
@settings(max_examples=30)
def test_an_override_goes_over_the_layer(count: int, is_to_gpu: bool, layers: set[int]) -> None:
    """It takes the experts of its layers to a device wherever these layers are, and nothing else."""
    device = "CUDA0" if is_to_gpu else "CPU"
    names = "|".join(map(str, sorted(layers))) or "none"
    plain = _placed(f"-ngl {count}", ONE)
    moved = _placed(rf"-ngl {count} -ot 'blk\.({names})\.ffn_.*_exps={device}'", ONE)
    column = 1 if is_to_gpu else 0
    expected = plain.expert_fraction.copy()
    expected[sorted(layers)] = np.eye(2)[column]
    assert np.allclose(moved.expert_fraction, expected)
    assert np.array_equal(moved.attention, plain.attention)


@given(st.lists(st.integers(1, 96), min_size=2, max_size=4), COUNTS)
@settings(max_examples=30)
def test_memory_is_the_default_share(sizes: list[int], count: int) -> None:
    """Without -ts, layers are split as with the memory of each GPU written there."""
    memories = [size * 1e9 for size in sizes]
    own = _placed(f"-ngl {count}", memories)
    written = _placed(f"-ngl {count} -ts {','.join(map(str, sizes))}", memories)
    assert np.array_equal(own.attention, written.attention)
    assert own.head == written.head
