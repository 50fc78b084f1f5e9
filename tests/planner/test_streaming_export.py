"""Exports for programs that copy weights at every pass: what stays on the GPU fits it."""

import json
import shlex

import pytest

from hwprofiles import InputError
from hwprofiles.units import GIB
from planner.export.streaming import STREAMED, Streamed
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from tests.planner.runtime_plans import small_gpu
from tests.sim.runtimes.examples import NO_GPU, qwen


def _plan(gib: float) -> Streamed:
    return Streamed(
        model=qwen(),
        model_name="Qwen/Qwen3-30B-A3B",
        host=small_gpu(gib),
        load=RuntimeLoad(prompt_tokens=1024, output_tokens=256),
        limits=RuntimeLimits(),
    )


@pytest.mark.parametrize("gib", [4, 8, 16])
def test_vllm_offloads_what_does_not_fit(gib: float) -> None:
    """The GiB that it is told are enough, and not one more."""
    plan = _plan(gib)
    words = shlex.split(STREAMED["vllm"](plan))
    offloaded = int(words[words.index("--cpu-offload-gb") + 1]) * GIB
    left = plan.model.total_bytes - offloaded
    assert left <= plan.room_bytes < left + GIB


def test_nothing_is_offloaded_where_all_fits() -> None:
    """A GPU with room gets neither flag nor a layer in host memory."""
    plan = _plan(32)
    assert "--cpu-offload-gb" not in STREAMED["vllm"](plan)
    assert set(json.loads(STREAMED["accelerate"](plan)).values()) == {0}


@pytest.mark.parametrize("gib", [4, 8, 16])
def test_a_device_map_covers_the_model_and_fits(gib: float) -> None:
    """Every layer has a device; those on the GPU fit beside the largest one on its way."""
    plan = _plan(gib)
    devices = json.loads(STREAMED["accelerate"](plan))
    model = plan.model
    layers = [devices[f"model.layers.{index}"] for index in range(model.num_layers)]
    assert layers == sorted(layers, key=str)
    sizes = [layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in model.layers]
    resident = sum(size for size, device in zip(sizes, layers, strict=True) if device == 0)
    assert resident + max(sizes) + sum(model.top_bytes.values()) <= plan.room_bytes


def test_a_machine_without_a_gpu_is_refused() -> None:
    """These programs compute on a GPU alone."""
    plan = Streamed(
        model=qwen(),
        model_name="m",
        host=NO_GPU,
        load=RuntimeLoad(prompt_tokens=1, output_tokens=1),
        limits=RuntimeLimits(),
    )
    with pytest.raises(InputError, match="no GPU"):
        STREAMED["vllm"](plan)
