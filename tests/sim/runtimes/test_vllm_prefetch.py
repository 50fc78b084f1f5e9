"""vLLM's copies of whole layers ahead: which layers, what they cost, what work hides."""

import shlex
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from planner.export.vllm import vllm_words
from planner.runtimes.copying_search import vllm_options
from sim.runtimes.asking import read_runtime_arguments
from sim.runtimes.memory import memory_of
from sim.runtimes.placing import placement_of
from sim.runtimes.predict import predict
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.vllm import VllmArguments
from sim.runtimes.vllm.prefetch import pass_seconds
from tests.planner.runtime_plans import asked, planned, small_gpu
from tests.sim.runtimes.examples import DESKTOP, qwen


def _question(line: str) -> RuntimeQuestion:
    return RuntimeQuestion(
        runtime="vllm",
        arguments=read_runtime_arguments("vllm", line),
        model=qwen(),
        quantization="Q4_K_M",
        host=DESKTOP,
        prompt_tokens=2048,
    )


def test_a_token_copies_idle_experts_too() -> None:
    """Each pass copies its layers whole: a token pays the link for all their bytes, less what the
    GPU's work hides, and far more than for experts that are read where they are.
    """
    found = predict(_question("--offload-group-size 4"))
    model = qwen()
    moved = [model.layers[index] for index in range(3, 48, 4)]
    copied = sum(layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in moved)
    link_s = copied / DESKTOP.gpus[0].link_bytes_per_s
    seconds = found.decode.seconds
    work_s = sum(seconds.values()) - seconds["upload"]
    assert link_s - work_s <= seconds["upload"] <= link_s
    read = predict(_question(f"--cpu-offload-gb {copied / 2**30} --cpu-offload-params experts"))
    assert found.decode.tokens_per_s < read.decode.tokens_per_s / 4


def test_buffers_are_counted() -> None:
    """Each layer that is copied ahead takes a buffer of its size on the GPU."""
    one, four = (
        memory_of(question, placement_of(question))["gpu0"].compute
        for question in (
            _question("--offload-group-size 4"),
            _question("--offload-group-size 4 --offload-prefetch-step 4"),
        )
    )
    layer = qwen().layers[0]
    assert four - one == 3 * (layer.dense_bytes + layer.num_experts * layer.expert_bytes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--offload-group-size 4 --cpu-offload-gb 2", "two ways"),
        ("--offload-group-size 2 --offload-num-in-group 3", "at most --offload-group-size"),
        ("--offload-prefetch-step 0", "at least 1"),
    ],
)
def test_what_is_refused(line: str, message: str) -> None:
    """One line says which options do not go together."""
    with pytest.raises(InputError, match=message):
        read_runtime_arguments("vllm", line)


def test_options_read_back_and_fit() -> None:
    """Every option of the search is what its words say, and fits; copying ahead is among them and
    gives the earliest first token, reading over the link the faster answer.
    """
    search = asked("vllm", host=small_gpu(12), prompt_tokens=2048)
    options = list(vllm_options(search))
    for option in options:
        assert isinstance(option.arguments, VllmArguments)
        line = shlex.join(vllm_words(option.arguments))
        # GiB are written to six digits, a few hundred bytes apart.
        offload_bytes = pytest.approx(option.arguments.offload_bytes, rel=1e-6)
        again = read_runtime_arguments("vllm", line)
        assert isinstance(again, VllmArguments) and again.offload_bytes == offload_bytes
        assert replace(again, offload_bytes=option.arguments.offload_bytes) == option.arguments
        assert search.fits(option)
    first = planned(replace(search, objective="ttft")).best.arguments
    answer = planned(replace(search, objective="tpot")).best.arguments
    assert isinstance(first, VllmArguments) and isinstance(answer, VllmArguments)
    assert first.group_size and not answer.group_size


GROUPS = st.integers(2, 8).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(1, size - 1), st.integers(1, 4))
)
"""Layers of a group, how many of them are copied, and how many groups ahead."""
WORK_S = st.floats(1e-6, 1.0)


def _copies(num_layers: int, size: int, num_in_group: int, copy_s: float) -> dict[int, float]:
    return {layer: copy_s for layer in range(num_layers) if layer % size >= size - num_in_group}


@given(GROUPS, st.booleans())
@settings(max_examples=30)
def test_the_last_layers_of_each_group_are_copied(
    group: tuple[int, int, int], is_experts_alone: bool
) -> None:
    """Of groups of 8, the last 2: layers 6, 7, 14, 15 and so on; all else is on the GPU."""
    size, num_in_group, step = group
    line = (
        f"--offload-group-size {size} --offload-num-in-group {num_in_group} "
        f"--offload-prefetch-step {step}{' --offload-params experts' if is_experts_alone else ''}"
    )
    placement = placement_of(_question(line))
    moved = [index for index in range(48) if index % size >= size - num_in_group]
    found = [index for index in range(48) if placement.expert_fraction[index, 0] == 1]
    assert found == moved
    dense = [index for index in range(48) if placement.dense[index] < 0]
    assert dense == ([] if is_experts_alone else moved)
    assert placement.weight_bytes.sum() == pytest.approx(qwen().total_bytes)


@given(GROUPS, st.integers(1, 60), WORK_S, st.floats(1e-6, 10.0))
def test_a_pass_lies_between_its_longest_lane_and_both(
    group: tuple[int, int, int], num_layers: int, layer_s: float, copy_s: float
) -> None:
    """Never shorter than all work or all copies, never longer than one behind the other."""
    size, num_in_group, step = group
    copies = _copies(num_layers, size, num_in_group, copy_s)
    arguments = VllmArguments(group_size=size, num_in_group=num_in_group, prefetch_step=step)
    found = pass_seconds(layer_s, num_layers, copies, arguments)
    lanes = (num_layers * layer_s, sum(copies.values()))
    assert max(lanes) * (1 - 1e-9) <= found <= sum(lanes) * (1 + 1e-9)


@given(st.integers(2, 8), st.integers(1, 12), WORK_S, st.floats(0.01, 1.0), st.integers(1, 4))
def test_copies_that_work_hides_cost_nothing(
    size: int, num_groups: int, layer_s: float, share: float, step: int
) -> None:
    """Closed form: where a copy is shorter than the work up to its layer, a pass is its work; but for
    the last copy, which begins behind the last layer and which the end of the pass waits for.
    """
    num_layers = size * num_groups
    # The layers between one that is copied and the next.
    copy_s = share * (size - 1) * layer_s * 0.99
    found = pass_seconds(
        layer_s,
        num_layers,
        _copies(num_layers, size, 1, copy_s),
        VllmArguments(group_size=size, prefetch_step=step),
    )
    assert found == pytest.approx(num_layers * layer_s + copy_s)


@given(st.integers(2, 8), st.integers(1, 12), WORK_S, st.floats(1.0, 100.0), st.integers(1, 4))
def test_long_copies_follow_one_another(
    size: int, num_groups: int, layer_s: float, factor: float, step: int
) -> None:
    """Closed form: where copies are longer than all work, the link never rests once it began: the
    pass is the work up to the first copied layer, all copies, and no more than the work of the other
    layers; what is in buffers at the start saves none, for as much is copied for the next pass.
    """
    num_layers = size * num_groups
    copy_s = factor * num_layers * layer_s
    found = pass_seconds(
        layer_s,
        num_layers,
        _copies(num_layers, size, 1, copy_s),
        VllmArguments(group_size=size, prefetch_step=step),
    )
    least = num_groups * copy_s + size * layer_s
    assert least * (1 - 1e-9) <= found <= (least + (num_layers - size) * layer_s) * (1 + 1e-9)
