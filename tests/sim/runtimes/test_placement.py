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


@pytest.mark.parametrize(
    ("line", "layers", "has_head"),
    [
        ("-ngl 0", 0, False),
        ("-ngl 1", 0, True),
        ("-ngl 24", 23, True),
        ("-ngl 49", 48, True),
        ("-ngl 99", 48, True),
    ],
)
def test_last_layers_and_the_head(line: str, layers: int, has_head: bool) -> None:
    """The head counts as a layer, and goes first; layers follow from the last one."""
    placement = _placed(line, ONE)
    assert np.flatnonzero(placement.attention == 0).tolist() == list(range(48 - layers, 48))
    assert (placement.head == 0) is has_head
    assert np.array_equal(placement.kv, placement.attention)


@pytest.mark.parametrize(
    ("line", "layers", "has_head"),
    [("-ngl 1", 1, False), ("-ngl 48", 48, False), ("-ngl 49", 48, True)],
)
def test_ik_does_not_count_the_head(line: str, layers: int, has_head: bool) -> None:
    """ik_llama.cpp counts layers alone; more than there are take the head too."""
    placement = _placed(line, ONE, runtime="ik_llama.cpp")
    assert int(np.sum(placement.attention == 0)) == layers
    assert (placement.head == 0) is has_head


def test_cpu_experts_from_the_first_or_the_last() -> None:
    """llama.cpp keeps the experts of the first layers on the CPU, dense ones counted; ik_llama.cpp
    those of the last.
    """
    assert _expert_layers(_placed("-ngl 99 -ncmoe 20", ONE), 0) == list(range(20))
    assert _expert_layers(_placed("-ngl 99 -ncmoe 20", ONE, deepseek()), 0) == list(range(3, 20))
    ik = _placed("-ngl 99 -ncmoe 20", ONE, deepseek(), "ik_llama.cpp")
    assert _expert_layers(ik, 0) == list(range(41, 61))


def test_ik_with_several_gpus_is_refused() -> None:
    """Which layers it then chooses is not known, so patterns must say them."""
    with pytest.raises(InputError, match="use -ot"):
        _placed("-ngl 99 -ncmoe 20", TWO, runtime="ik_llama.cpp")


def test_first_match_wins() -> None:
    """An override before another takes the tensors that both find."""
    line = r'-ngl 99 -ot "blk\.(1[0-9])\.ffn_.*=CUDA0" -ot exps=CPU'
    assert _expert_layers(_placed(line, ONE), 1) == list(range(10, 20))
    assert (
        _expert_layers(_placed(r'-ngl 99 -ot exps=CPU -ot "blk\.1[0-9]\.ffn_.*=CUDA0"', ONE), 1)
        == []
    )


def test_override_goes_over_the_layer() -> None:
    """An override takes a tensor to a GPU although its layer stays on the host."""
    placement = _placed("-ngl 0 -ot exps=CUDA0", ONE)
    assert _expert_layers(placement, 1) == list(range(48))
    assert set(placement.attention.tolist()) == {HOST}


def test_single_matrices() -> None:
    """A layer whose down matrices alone stay on the host has two thirds of its experts on the GPU."""
    placement = _placed(r'-ngl 99 -ot "blk\.12\.ffn_down_exps=CPU"', ONE)
    assert placement.expert_fraction[12].tolist() == pytest.approx([1 / 3, 2 / 3])


def test_split_follows_shares() -> None:
    """Layers go to the GPU whose cumulative share they fall in; free memory sets the default."""
    assert int(np.sum(_placed("-ngl 99 -ts 3,1", TWO).attention == 0)) == 37
    assert int(np.sum(_placed("-ngl 99", TWO).attention == 0)) == 25
    assert int(np.sum(_placed("-ngl 99", [8e9, 24e9]).attention == 1)) == 35
    assert set(_placed("-ngl 99 -sm none -mg 1", TWO).attention.tolist()) == {1}


def test_split_over_four_gpus_as_printed() -> None:
    """ik_llama.cpp shared 94 layers of Qwen3-235B-A22B over four equal cards as 24, 24, 24 and 22
    (discussion 491).
    """
    from sim.model.library import load_model

    placement = _placed(
        "-ngl 95", [24e9] * 4, load_model("qwen3-235b-a22b", "4bit"), "ik_llama.cpp"
    )
    assert [int(np.sum(placement.kv == gpu)) for gpu in range(4)] == [24, 24, 24, 22]


def test_kv_on_the_host() -> None:
    """-nkvo keeps the KV cache on the host whatever the layers do."""
    assert set(_placed("-ngl 99 -nkvo", ONE).kv.tolist()) == {HOST}


def test_unknown_devices() -> None:
    """A GPU that the machine does not have is named."""
    with pytest.raises(InputError, match="machine has 1 GPUs"):
        _placed("-ngl 99 -ot exps=CUDA3", ONE)
    with pytest.raises(InputError, match="machine has 1 GPUs"):
        _placed("-ngl 99 -dev CUDA1", ONE)


@pytest.mark.parametrize(
    ("line", "crossings"),
    [
        ("-ngl 99", 0),
        ("-ngl 0", 0),
        ("-ngl 99 -cmoe", 96),
        ("-ngl 99 -ncmoe 20", 40),
        ("-ngl 24", 1),
    ],
)
def test_crossings(line: str, crossings: int) -> None:
    """Work changes device twice for every layer whose experts alone are elsewhere, once where whole
    layers are.
    """
    assert _placed(line, ONE).num_crossings == crossings


def test_crossings_between_gpus() -> None:
    """A split of layers crosses once from card to card; nothing touches the host."""
    placement = _placed("-ngl 99", TWO)
    assert (placement.num_crossings, placement.crossings_between_gpus) == (0, 1)


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


def test_ktransformers_keeps_every_expert_in_host_memory() -> None:
    """Experts on the GPU are in host memory as well; a ratio overrides a count."""
    host = placement_of(question("--kt-num-gpu-experts 32", runtime="ktransformers"))
    assert host.expert_fraction[0].tolist() == pytest.approx([0.75, 0.25])
    experts = 48 * 128 * qwen().expert_bytes
    assert host.weight_bytes[0] == pytest.approx(experts, rel=0.03)
    ratio = placement_of(
        question("--kt-num-gpu-experts 32 --kt-gpu-experts-ratio 0.5", runtime="ktransformers")
    )
    assert ratio.expert_fraction[0].tolist() == pytest.approx([0.5, 0.5])


def test_fit_keeps_as_many_experts_as_fit() -> None:
    """Without placement in the arguments, dense parts go to the GPU and experts of the first layers
    fill it.
    """
    placement = placement_of(question("-c 4096"))
    on_gpu = _expert_layers(placement, 1)
    assert set(placement.attention.tolist()) == {0}
    assert on_gpu == list(range(len(on_gpu)))
    assert placement.weight_bytes[1] < GPU.memory_bytes - 1024 * MIB


def test_fit_of_a_model_that_does_not_fit() -> None:
    """Of a model of 380 GB the fit keeps its dense part on the GPU, and the experts that are left
    room for.
    """
    placement = placement_of(question("-c 4096", model=deepseek()))
    assert placement.weight_bytes[1] < GPU.memory_bytes - 1024 * MIB
    assert placement.weight_bytes[0] > 15 * placement.weight_bytes[1]
    assert DESKTOP.gpus[0] == GPU


def test_fit_among_gpus_fills_the_first_with_experts() -> None:
    """Layers with their experts are on the first GPU and in front; no GPU is fuller than its
    margin.
    """
    two = replace(DESKTOP, gpus=(GPU, replace(GPU, memory_bytes=12e9)))
    placement = placement_of(question("-c 4096", model=deepseek(), host=two))
    with_experts = _expert_layers(placement, 1)
    assert with_experts
    assert with_experts == list(range(3, 3 + len(with_experts)))
    for column, gpu in enumerate(two.gpus, start=1):
        assert placement.weight_bytes[column] < gpu.memory_bytes - 1024 * MIB
    assert sorted(placement.attention) == placement.attention.tolist()


def test_fit_of_gpus_that_hold_nothing() -> None:
    """Everything stays on the host where not even the head fits a GPU."""
    tiny = replace(GPU, memory_bytes=1.2e9)
    placement = placement_of(
        question("-c 4096", model=deepseek(), host=replace(DESKTOP, gpus=(tiny, tiny)))
    )
    assert set(placement.attention.tolist()) == {HOST}
    assert placement.head == HOST


def test_fit_leaves_what_fits_as_it_is() -> None:
    """A model that two GPUs hold is split by their memory, as without the fit."""
    two = replace(DESKTOP, gpus=(GPU, GPU))
    fitted = placement_of(question("-c 4096", host=two))
    plain = placement_of(question("-c 4096 --fit off", host=two))
    assert fitted.attention.tolist() == plain.attention.tolist()
    assert fitted.expert_fraction[:, 0].sum() == 0


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
