"""Plans for models larger than host memory: llama.cpp maps its file and reads the rest from the disk."""

from dataclasses import replace

import pytest

from hwprofiles import load_machine
from planner.runtimes.asked import Asked
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from planner.runtimes.plan_file import call_of
from planner.runtimes.search import NoRuntimePlan, plan_runtime
from sim.model.library import load_model
from sim.runtimes import kernel_format, runtime_host
from sim.runtimes.host import HostDisk
from sim.runtimes.predict import predict
from sim.runtimes.tensors import tensors_of
from tests.planner.runtime_plans import asked, planned
from tests.sim.runtimes.examples import DESKTOP

DISK = HostDisk(bytes_per_s=7e9, latency_s=100e-6)


def case(memory: str, runtime: str = "llama.cpp") -> Asked:
    """132 GB of weights on a machine with a GPU of 24 GiB, an NVMe and that much host memory."""
    machine = load_machine("desktop-rtx-4090-ddr5", (f"cpu.memory_bytes={memory}",))
    model = load_model("qwen3-235b-a22b", "4bit")
    return Asked(
        runtime=runtime,
        model=model,
        quantization=kernel_format(model, "4bit"),
        host=runtime_host(machine),
        load=RuntimeLoad(prompt_tokens=128, output_tokens=128),
        limits=RuntimeLimits(),
        tensors=tensors_of(model),
    )


def test_the_disk_binds_a_small_host_and_no_other() -> None:
    """Each step down in memory is slower, and from 64 GB on reading is what limits an answer."""
    speeds = []
    for memory in ("256GB", "64GB", "32GB", "16GB"):
        plan = planned(case(memory))
        speeds.append(plan.prediction.decode.tokens_per_s)
        assert (plan.prediction.decode.limit == "disk") == (memory != "256GB")
        for rival in plan.rivals:
            if rival.option is not None:
                assert plan.best.timing.end_to_end_s <= rival.option.timing.end_to_end_s * 1.000001
    assert speeds == sorted(speeds, reverse=True) and len(set(speeds)) == 4


@pytest.mark.parametrize("runtime", ["llama.cpp", "ik_llama.cpp"])
@pytest.mark.parametrize("gigabytes", [6, 9, 12, 64])
def test_the_command_is_what_was_planned(runtime: str, gigabytes: int) -> None:
    """Read again, the arguments reach the plan's own speed, and GPUs keep their margins."""
    search = asked(runtime, host=replace(DESKTOP, disk=DISK), host_memory_bytes=gigabytes * 1e9)
    plan = planned(search)
    question = search.question(search.read(call_of(plan.best).line))
    found = predict(question)
    assert found.decode.tokens_per_s == pytest.approx(plan.prediction.decode.tokens_per_s)
    assert search.missing_bytes(found.memory, question.arguments) == {}


def test_without_a_disk_there_is_no_plan() -> None:
    """One line says by how much the model is too large, and what would help."""
    search = case("64GB")
    found = plan_runtime(replace(search, host=replace(search.host, disk=None)))
    assert isinstance(found, NoRuntimePlan)
    assert "more than GPUs and host have free; a machine that states a disk" in found.reason


def test_a_runtime_that_loads_its_file_needs_the_memory() -> None:
    """KTransformers holds every expert in host memory."""
    assert isinstance(plan_runtime(case("64GB", "ktransformers")), NoRuntimePlan)


@pytest.mark.parametrize("flag", ["--no-mmap", "--mlock"])
def test_what_is_not_mapped_does_not_fit(flag: str) -> None:
    """The user's own arguments lack host memory where they keep the file from being mapped."""
    search = case("64GB")
    line = f"-ngl 99 -cmoe {flag}"
    option = search.option(search.read(line))
    assert set(search.missing_bytes(option.memory, option.arguments)) == {"host"}
    assert search.fits(search.option(search.read("-ngl 99 -cmoe")))


def test_what_others_take_is_no_page_cache() -> None:
    """Reserved memory holds no weights: more is read, and the answer is slower."""
    search = case("64GB")
    taken = replace(search, limits=RuntimeLimits(reserve_ram_bytes=24 * 10**9))
    assert (
        planned(taken).prediction.decode.tokens_per_s
        < planned(search).prediction.decode.tokens_per_s
    )
