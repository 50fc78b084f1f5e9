"""vLLM's copies of whole layers ahead: which layers, what they cost, what work hides."""

import shlex
from dataclasses import replace

import pytest

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


def test_the_last_layers_of_each_group_are_copied() -> None:
    """Of groups of 8, the last 2: layers 6, 7, 14, 15 and so on; all else is on the GPU."""
    placement = placement_of(_question("--offload-group-size 8 --offload-num-in-group 2"))
    moved = [index for index in range(48) if placement.expert_fraction[index, 0] == 1]
    assert moved == [index for index in range(48) if index % 8 >= 6]
    assert [index for index in range(48) if placement.dense[index] < 0] == moved
    experts = placement_of(_question("--offload-group-size 8 --offload-params experts"))
    assert (experts.dense >= 0).all()
    assert experts.weight_bytes.sum() == pytest.approx(qwen().total_bytes)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_copies_that_work_hides_cost_nothing(step: int) -> None:
    """Closed form: where a copy is shorter than the work up to its layer, a pass is its work; but
    for the last copies, which the end of the pass waits for.
    """
    copies = dict.fromkeys(range(3, 40, 4), 2.0)
    arguments = VllmArguments(group_size=4, prefetch_step=step)
    # The first layer of the next pass is copied behind the last one of this.
    assert pass_seconds(1.0, 40, copies, arguments) == pytest.approx(40 + 2.0)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_long_copies_follow_one_another(step: int) -> None:
    """Closed form: where copies are longer than all work, the link never rests once it began: the
    pass is the work up to the first copied layer and all copies; what is in buffers at the start
    saves none, for as much is copied for the next pass.
    """
    copies = dict.fromkeys(range(3, 40, 4), 100.0)
    found = pass_seconds(1.0, 40, copies, VllmArguments(group_size=4, prefetch_step=step))
    assert 10 * 100.0 + 4 <= found <= 10 * 100.0 + 4 + 36


def test_more_ahead_is_never_slower() -> None:
    """Each further buffer lets copies begin earlier, whatever they last beside the work."""
    for copy_s in (0.5, 3.0, 4.5, 9.0):
        copies = dict.fromkeys(range(3, 40, 4), copy_s)
        times = [
            pass_seconds(1.0, 40, copies, VllmArguments(group_size=4, prefetch_step=step))
            for step in (1, 2, 4)
        ]
        # The end of a pass waits for as many copies as there are buffers.
        assert times[1] <= times[0] + copy_s and times[2] <= times[1] + 2 * copy_s
        assert min(times) >= max(40.0, 10 * copy_s)


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
