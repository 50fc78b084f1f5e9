"""Plans for vLLM, accelerate and exllamav3: each by what its own program places and copies."""

import json

import numpy as np
import pytest

from hwprofiles.units import GIB
from planner.export.checking import check_text
from planner.export.runtime_command import RuntimeCommand
from planner.export.runtimes import WRITERS, runtime_text
from planner.runtimes.plan_file import call_of
from planner.runtimes.search import NoRuntimePlan, plan_runtime
from sim.runtimes.accelerate import AccelerateArguments
from sim.runtimes.exllamav3 import Exl3Arguments
from sim.runtimes.predict import predict
from sim.runtimes.vllm import VllmArguments
from tests.planner.misplaced import misplaced_bytes
from tests.planner.runtime_plans import asked, planned, small_gpu
from tests.sim.runtimes.examples import NO_GPU

PROGRAMS = ("vllm", "accelerate", "exllamav3")


@pytest.mark.parametrize("runtime", PROGRAMS)
@pytest.mark.parametrize("gib", [3, 8, 12, 24])
def test_the_text_places_what_the_plan_does(runtime: str, gib: int) -> None:
    """The exported text, read back, puts every byte where the plan has it."""
    option = planned(asked(runtime, host=small_gpu(gib))).best
    call = call_of(option)
    command = RuntimeCommand(
        runtime=runtime,
        model_name="model",
        model_words=WRITERS[runtime].model_words("model"),
        words=call.arguments,
    )
    text = runtime_text("args", command)
    check_text(runtime, call.line, "args", text)
    assert misplaced_bytes(option.question, "args", text) == 0


@pytest.mark.parametrize("runtime", PROGRAMS)
def test_no_gpu_is_said(runtime: str) -> None:
    """None of them runs without a GPU."""
    none = plan_runtime(asked(runtime, host=NO_GPU))
    assert isinstance(none, NoRuntimePlan)
    assert "needs a GPU" in none.reason


@pytest.mark.parametrize("runtime", PROGRAMS)
def test_how_often_ranges_hold_is_not_claimed(runtime: str) -> None:
    """No published speeds of these programs were fitted, so no share is stated."""
    prediction = planned(asked(runtime)).prediction
    assert prediction.decode.coverage_fraction is None
    assert planned(asked()).prediction.decode.coverage_fraction is not None


def test_vllm_reads_chosen_experts_over_the_link() -> None:
    """A token takes the chosen experts' bytes in host memory over the link, and no more."""
    search = asked("vllm", host=small_gpu(12))
    option = planned(search).best
    arguments = option.arguments
    assert isinstance(arguments, VllmArguments)
    assert arguments.is_experts_alone
    model = search.model
    share = option.placement.expert_fraction[:, 0].sum()
    chosen = share * model.top_k * model.layers[0].expert_bytes
    least_s = chosen / search.host.gpus[0].link_bytes_per_s
    seconds = predict(option.question).decode.seconds
    assert seconds["upload"] == pytest.approx(least_s, rel=0.06)
    assert seconds["cpu_experts"] == 0


@pytest.mark.parametrize("gib", [3, 5, 8, 12, 16])
def test_vllm_is_told_hundredths_of_a_gib(gib: int) -> None:
    """A command to paste has no digits that mean nothing."""
    words = call_of(planned(asked("vllm", host=small_gpu(gib))).best).arguments
    if "--cpu-offload-gb" in words:
        whole, _, rest = words[words.index("--cpu-offload-gb") + 1].partition(".")
        assert whole.isdigit() and len(rest) <= 2


def test_vllm_offloads_as_little_as_fits() -> None:
    """Its GiB hold what does not fit, to less than the parameter that may exceed them."""
    search = asked("vllm", host=small_gpu(12))
    arguments = planned(search).best.arguments
    assert isinstance(arguments, VllmArguments)
    everything = search.option(VllmArguments(chunk_tokens=arguments.chunk_tokens))
    missing = search.missing_bytes(everything.memory, everything.arguments)["gpu0"]
    assert missing <= arguments.offload_bytes < missing + GIB / 50


def test_accelerate_copies_whole_layers() -> None:
    """A token takes all bytes of the layers in host memory over the link, idle experts too."""
    search = asked("accelerate", host=small_gpu(12))
    option = planned(search).best
    arguments = option.arguments
    assert isinstance(arguments, AccelerateArguments)
    layer = search.model.layers[0]
    size = layer.dense_bytes + layer.num_experts * layer.expert_bytes
    copied = len(arguments.host_layers) * size
    seconds = predict(option.question).decode.seconds["upload"]
    link = search.host.gpus[0].link_bytes_per_s
    assert seconds == pytest.approx(copied / link, rel=0.06)


def test_a_device_map_covers_the_model() -> None:
    """Every layer has a device, the ends are on the GPU, and the last layers in host memory."""
    search = asked("accelerate", host=small_gpu(8))
    (text,) = call_of(planned(search).best).arguments
    devices = json.loads(text)
    layers = [devices[f"model.layers.{index}"] for index in range(search.model.num_layers)]
    assert layers == sorted(layers, key=str)
    assert "cpu" in layers
    assert devices["model.embed_tokens"] == devices["lm_head"] == 0


def test_exllamav3_keeps_the_most_chosen_on_the_gpu() -> None:
    """With -mcs the CPU computes a smaller share of choices than of experts that it keeps."""
    search = asked("exllamav3", host=small_gpu(12))
    kept = search.option(Exl3Arguments(split_experts=64))
    layers = search.option(Exl3Arguments(cpu_layers=24))
    assert np.isclose(kept.placement.weight_bytes[0], layers.placement.weight_bytes[0], rtol=1e-9)
    experts = predict(kept.question).decode.seconds["cpu_experts"]
    assert 0 < experts < 0.7 * predict(layers.question).decode.seconds["cpu_experts"]
