"""Laws of bytes by device that hold for any model, host and line of arguments."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles.units import GIB, MIB
from sim.model.model import Model, TensorClass
from sim.runtimes.asking import read_runtime_arguments
from sim.runtimes.host import RuntimeHost
from sim.runtimes.memory import DeviceMemory, memory_of, overfull
from sim.runtimes.placing import placement_of
from tests.sim.runtimes.drawn import hosts, llama_lines, model_of, models
from tests.sim.runtimes.examples import DESKTOP, GPU, question


def _memory(
    line: str, model: Model, host: RuntimeHost, runtime: str = "llama.cpp"
) -> dict[str, DeviceMemory]:
    asked = question(line, runtime=runtime, model=model, host=host)
    return memory_of(asked, placement_of(asked))


def _on_gpus(memory: dict[str, DeviceMemory]) -> int:
    return sum(own.total for name, own in memory.items() if name != "host")


def _weights(memory: dict[str, DeviceMemory]) -> int:
    return sum(own.weights for own in memory.values())


@st.composite
def placed(draw: st.DrawFn) -> tuple[str, str, Model, RuntimeHost]:
    """A runtime whose every weight is on one device, its line, a model and a host."""
    runtime = draw(st.sampled_from(("llama.cpp", "vllm", "accelerate", "exllamav3")))
    model = draw(models)
    if runtime == "llama.cpp":
        return runtime, draw(llama_lines()), model, draw(hosts(0))
    if runtime == "vllm":
        host_layers = f"--offload-group-size {draw(st.integers(1, 50))} --offload-num-in-group 1"
        line = draw(st.floats(0, 80).map("--cpu-offload-gb {:.3f}".format) | st.just(host_layers))
        line += draw(st.sampled_from(("", " --offload-params experts")))
    elif runtime == "accelerate":
        on_host = draw(st.sets(st.integers(0, model.num_layers - 1)))
        devices = {"lm_head": 0} | {
            f"model.layers.{index}": "cpu" if index in on_host else 0
            for index in range(model.num_layers)
        }
        line = json.dumps(devices)
    else:
        line = f"-mcl {draw(st.integers(0, 90))} -mcs {draw(st.integers(0, 300))}"
    return runtime, line, model, replace(DESKTOP, gpus=(GPU,))


@given(placed())
@settings(max_examples=60)
def test_weights_are_placed_once(drawn: tuple[str, str, Model, RuntimeHost]) -> None:
    """Whatever the arguments: bytes over all devices are those of the model, but for its last norm's
    few kilobytes, and a copy of an embedding that is the head of a GPU too.
    """
    runtime, line, model, host = drawn
    asked = question(line, runtime=runtime, model=model, host=host)
    placement = placement_of(asked)
    is_copied = runtime in ("llama.cpp", "exllamav3") and model.is_head_tied and placement.head >= 0
    copied = model.top_bytes[TensorClass.EMBEDDING] if is_copied else 0
    expected = model.total_bytes - model.top_bytes[TensorClass.NORM] + copied
    # Each device's bytes are rounded.
    assert _weights(memory_of(asked, placement)) == pytest.approx(expected, abs=len(host.gpus) + 1)


@given(models, hosts(), llama_lines(without=("-ncmoe",)), st.integers(0, 70), st.integers(0, 9))
@settings(max_examples=50)
def test_experts_on_the_cpu_take_no_gpu_memory(
    model: Model, host: RuntimeHost, line: str, count: int, more: int
) -> None:
    """More layers of -ncmoe: no GPU holds more weights, and all of them need no more together."""
    few, many = (
        _memory(f"{line} -ncmoe {layers}", model, host) for layers in (count, count + more)
    )
    for name, own in few.items():
        assert name == "host" or many[name].weights <= own.weights
    assert _on_gpus(many) <= _on_gpus(few)


@given(models, hosts(), llama_lines(without=("-ngl",)), st.integers(0, 100), st.integers(0, 100))
@settings(max_examples=50)
def test_layers_on_gpus_leave_the_host(
    model: Model, host: RuntimeHost, line: str, count: int, other: int
) -> None:
    """More layers of -ngl: the host never holds more weights or keys and values."""
    few, many = (
        _memory(f"{line} -ngl {layers}", model, host)["host"] for layers in sorted((count, other))
    )
    assert many.weights <= few.weights
    assert many.kv <= few.kv


@given(
    models,
    hosts(0),
    llama_lines(without=("-c", "-ngl")),
    st.lists(st.integers(1, 200_000), min_size=2, max_size=2),
)
@settings(max_examples=50)
def test_room_for_more_tokens_is_never_smaller(
    model: Model, host: RuntimeHost, line: str, tokens: list[int]
) -> None:
    """A longer context takes no less on any device; its keys and values alone may grow."""
    short, long = (
        _memory(f"{line} -ngl 99 -c {context}", model, host) for context in sorted(tokens)
    )
    for name, own in short.items():
        assert long[name].kv >= own.kv
        assert long[name].compute >= own.compute
        assert long[name].weights == own.weights


CACHE_TYPES = ("f32", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
"""From wide to narrow: 32, 16, 8.5, 6, 5.5, 5 and 4.5 bits."""


@given(
    models,
    llama_lines(without=("-ctk", "-ngl")),
    st.integers(0, 5),
    st.sampled_from(("k", "v", "kv")),
)
@settings(max_examples=40)
def test_a_narrower_cache_is_never_larger(model: Model, line: str, wide: int, which: str) -> None:
    """Keys, values or both in the next narrower type take no more, and no other bytes change."""
    memories = []
    for name in CACHE_TYPES[wide : wide + 2]:
        types = " ".join(f"-ct{letter} {name}" for letter in which)
        memories.append(_memory(f"{line} -ngl 99 {types}", model, DESKTOP))
    for name, own in memories[0].items():
        assert memories[1][name].kv <= own.kv
        assert replace(memories[1][name], kv=own.kv) == own


@given(
    models,
    hosts(0),
    llama_lines(without=("-ub", "-ngl")),
    st.integers(1, 4096),
    st.integers(1, 4096),
)
@settings(max_examples=40)
def test_a_larger_micro_batch_needs_no_smaller_buffers(
    model: Model, host: RuntimeHost, line: str, tokens: int, other: int
) -> None:
    """Buffers grow with the tokens that are computed at once, and windows keep as many more."""
    small, large = (
        _memory(f"{line} -ngl 99 -ub {micro} -b {micro}", model, host)
        for micro in sorted((tokens, other))
    )
    for name, own in small.items():
        assert large[name].compute >= own.compute
        assert large[name].kv >= own.kv


@given(models, hosts(), st.integers(256, 60_000))
@settings(max_examples=40)
def test_a_fit_keeps_its_margin(model: Model, host: RuntimeHost, tokens: int) -> None:
    """Without placement in the arguments a GPU is never fuller than its margin leaves it. Layers go
    to GPUs in order, with experts in front where all layers do.
    """
    asked = question(f"-c {tokens}", model=model, host=host)
    placement = placement_of(asked)
    own = memory_of(asked, placement)["gpu0"]
    # Of several GPUs the last may be fuller, in llama.cpp too: its first layer keeps its experts,
    # and their bytes are not looked at again when layers in front of it move to other GPUs.
    if len(host.gpus) == 1 and own.weights:
        assert own.total <= host.gpus[0].memory_bytes - 1024 * MIB
    assert sorted(placement.attention) == placement.attention.tolist()
    if len(host.gpus) == 1 and placement.attention[0] >= 0:
        shares = placement.expert_fraction[list(model.moe_layers), 0].tolist()
        assert shares == sorted(shares)


@given(models, hosts(), st.integers(256, 60_000))
@settings(max_examples=40)
def test_a_fit_leaves_what_fits_as_it_is(model: Model, host: RuntimeHost, tokens: int) -> None:
    """Where every GPU holds its layers with the margin, they are split as without the fit."""
    asked = question(f"-c {tokens} -ngl 99", model=model, host=host)
    plain = placement_of(asked)
    needed = memory_of(asked, plain)
    is_fitting = all(
        needed[f"gpu{index}"].total + 1024 * MIB <= gpu.memory_bytes
        for index, gpu in enumerate(host.gpus)
    )
    fitted = placement_of(question(f"-c {tokens}", model=model, host=host))
    assert np.array_equal(fitted.weight_bytes, plain.weight_bytes) == is_fitting


@given(models, st.integers(2, 96), st.integers(0, 40), st.integers(256, 60_000))
@settings(max_examples=40)
def test_a_larger_gpu_is_filled_with_no_less(
    model: Model, size: int, more: int, tokens: int
) -> None:
    """Of one GPU with more memory, the fit leaves no more weights on the host."""
    small, large = (
        _memory(
            f"-c {tokens}", model, replace(DESKTOP, gpus=(replace(GPU, memory_bytes=each * 1e9),))
        )
        for each in (size, size + more)
    )
    assert large["host"].weights <= small["host"].weights


@given(models, hosts(1, 1), st.floats(0, 100), st.floats(0, 20))
@settings(max_examples=40)
def test_vllm_leaves_what_is_asked_or_all(
    model: Model, host: RuntimeHost, size: float, more: float
) -> None:
    """At least the stated bytes are in host memory, less than a parameter above, or all layers; the
    experts alone never leave more than whole layers do.
    """
    few, many = (
        _memory(f"--cpu-offload-gb {each:.4f}", model, host, "vllm")["host"].weights
        for each in (size, size + more)
    )
    assert few <= many
    layers = [layer.num_experts * layer.expert_bytes + layer.dense_bytes for layer in model.layers]
    asked = float(f"{size:.4f}") * GIB
    assert few >= min(asked, sum(layers)) - 2
    assert few <= asked + max(layers) + 2


@given(st.integers(0, 140), st.integers(0, 140), st.sampled_from(("", "AMXINT4", "BF16")))
@settings(max_examples=40)
def test_ktransformers_counts_its_gpu_experts(count: int, other: int, method: str) -> None:
    """The GPU grows by one expert a layer each; the host holds all, whatever the count. A ratio of as
    many is the same.
    """
    model = model_of("qwen3-30b-a3b")
    chosen = f"--kt-method {method}" if method else ""
    few, many = sorted((count, other))
    line = f"{chosen} --kt-num-gpu-experts"
    small, large = (
        _memory(f"{line} {each}", model, DESKTOP, "ktransformers") for each in (few, many)
    )
    grown = min(many, 128) - min(few, 128)
    experts = sum(layer.expert_bytes for layer in model.layers)
    assert large["gpu0"].weights - small["gpu0"].weights == pytest.approx(grown * experts, abs=2)
    assert large["host"] == small["host"]
    ratio = f"{line} {few} --kt-gpu-experts-ratio {min(many, 128) / 128}"
    assert _memory(ratio, model, DESKTOP, "ktransformers") == large


@given(hosts(), llama_lines())
@settings(max_examples=40)
def test_what_is_overfull_is_larger_than_its_gpu(host: RuntimeHost, line: str) -> None:
    """By as many bytes as weights and cache are too many, and nothing is said of other GPUs."""
    model = model_of("qwen3-30b-a3b")
    asked = question(line, model=model, host=host)
    memory = memory_of(asked, placement_of(asked))
    over = overfull(asked, memory)
    for index, gpu in enumerate(host.gpus):
        own = memory[f"gpu{index}"]
        excess = own.weights + own.kv + own.expert_cache - gpu.memory_bytes
        assert over.get(f"gpu{index}", 0.0) == max(excess, 0.0)
    assert set(over) <= {f"gpu{index}" for index in range(len(host.gpus))}
    assert read_runtime_arguments("llama.cpp", line) == asked.arguments
