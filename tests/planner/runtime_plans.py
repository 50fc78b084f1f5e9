"""Searches for plans of runtimes: models, hosts and loads for tests."""

from dataclasses import replace
from typing import Any

from hwprofiles.units import GIB
from planner.runtimes.asked import Asked
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from planner.runtimes.search import RuntimePlan, plan_runtime
from sim.model.model import Model
from sim.runtimes.host import RuntimeHost
from sim.runtimes.tensors import tensors_of
from tests.sim.runtimes.examples import DESKTOP, GPU, qwen

TWO_GPUS = replace(
    DESKTOP,
    gpus=(
        replace(GPU, memory_bytes=8 * GIB),
        replace(GPU, memory_bytes=12 * GIB, bytes_per_s=2 * GPU.bytes_per_s),
    ),
)


def small_gpu(gib: float) -> RuntimeHost:
    """A desktop whose GPU has so many GiB."""
    return replace(DESKTOP, gpus=(replace(GPU, memory_bytes=gib * GIB),))


def asked(
    runtime: str = "llama.cpp",
    *,
    host: RuntimeHost | None = None,
    model: Model | None = None,
    prompt_tokens: int = 1024,
    output_tokens: int = 256,
    **others: Any,
) -> Asked:
    """A search for Qwen3-30B-A3B in 4 bits on a desktop with 12 GiB of GPU memory."""
    chosen = qwen() if model is None else model
    own = small_gpu(12) if host is None else host
    return Asked(
        runtime=runtime,
        model=chosen,
        quantization="Q4_K_M",
        host=replace(own, memory_bytes=others.pop("host_memory_bytes", 64e9)),
        load=RuntimeLoad(
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            rounds=others.pop("rounds", 1),
        ),
        limits=RuntimeLimits(),
        tensors=tensors_of(chosen),
        **others,
    )


def planned(search: Asked, against: str | None = None) -> RuntimePlan:
    """The plan of a search that has one."""
    plan = plan_runtime(search, against)
    assert isinstance(plan, RuntimePlan), plan
    return plan
