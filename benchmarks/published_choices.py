"""Compare published choices with predictions: caches, misses fetched or on the CPU, and disks.

    python benchmarks/published_choices.py

Ladders of caches and hosts are the cases of published_choices.csv, as `rosin accuracy --cases`
reads them. Models on disks are listed here with their machines. The benchmark prints three tables,
which docs/explanation/expert-caches.md shows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from hwprofiles import load_machine
from hwprofiles.units import GB
from sim.costs.host_room import RESERVED_BYTES
from sim.model.library import load_model
from sim.runtimes import (
    RuntimeHost,
    RuntimeQuestion,
    predict,
    read_runtime_arguments,
    runtime_host,
)
from sim.runtimes.bytes import read_bytes_per_weight, with_bytes_per_weight
from sim.runtimes.caching.experts import CachedExperts, MissRule
from sim.runtimes.caching.locality import locality_of
from sim.runtimes.caching.pricing import CacheRates, cached_decode
from sim.runtimes.constants import shipped_constants
from sim.runtimes.host import HostDisk
from validation.accuracy import CaseAccuracy, choose_in_cases, read_cases

CASES = Path(__file__).with_name("published_choices.csv")
WORDS = {"upload": "copies to the GPU", "disk": "the disk", "cpu_dense": "dense layers on the CPU"}


@cache
def host(line: str) -> RuntimeHost:
    """The machine of a line of parts."""
    return runtime_host(load_machine(line))


def cases(*, knows_hits: bool) -> tuple[CaseAccuracy, ...]:
    """Every case, with the hits that its source states or with those that Rosin expects."""
    found = read_cases(CASES)
    if not knows_hits:
        found = {
            name: [replace(arm, note=arm.note.replace("hits", "")) for arm in arms]
            for name, arms in found.items()
        }
    return choose_in_cases(found, (), host)


def ladders() -> Iterator[str]:
    """Yield a line for each rung of each ladder: the published speed and two predictions.

    One prediction uses expected hits, the other the hits that the source states.
    """
    yield "| model | policy | published | predicted | with the hits stated |"
    yield "|---|---|---:|---:|---:|"
    expected, stated = (
        [case for case in cases(knows_hits=known) if "ladder" in case.case]
        for known in (False, True)
    )
    for ours, theirs in zip(expected, stated, strict=True):
        for arm, other in zip(ours.arms, theirs.arms, strict=True):
            model = ours.case.split()[1]
            speeds = (arm.measured, arm.predicted_tokens_per_s, other.predicted_tokens_per_s)
            yield f"| {model} | {arm.arm} | " + " | ".join(_number(each) for each in speeds) + " |"
        orders = [f"{case.kendall_tau:.2f}" for case in (ours, theirs)]
        yield f"| | Kendall's tau of the order | | {orders[0]} | {orders[1]} |"


def fetching() -> Iterator[str]:
    """Yield a line for each host and size of cache: how much faster it is to split misses.

    The comparison is with all misses on the CPU.
    """
    yield "| host (GB/s of CPU, link, both) | cached | published | predicted |"
    yield "|---|---:|---:|---:|"
    read = read_cases(CASES)
    for case in cases(knows_hits=True):
        if "host" not in case.case:
            continue
        alone, split = case.arms
        rates = read[case.case, case.phase][0].probe.split(";")
        numbers = " / ".join(f"{float(rate.split('=')[1]) / GB:.0f}" for rate in rates)
        share = case.case.rsplit(" ", 2)[1]
        assert alone.predicted_tokens_per_s is not None
        assert split.predicted_tokens_per_s is not None
        ours = split.predicted_tokens_per_s / alone.predicted_tokens_per_s
        yield f"| {numbers} | {share} % | {split.measured / alone.measured:.2f} | {ours:.2f} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """A machine on which flash-moe streamed experts: its cached experts and published speed."""

    name: str
    line: str
    cached_experts: int
    memory_bytes: float
    disk_bytes_per_s: float
    tokens_per_s: float
    limit: str


STREAMED = (
    Streamed(
        name="flash-moe pull request 7: RTX 4090, 64 GB, NVMe 7 GB/s",
        line="RTX 4090 + Core i9-13900KF + 2x32GB DDR5-5600",
        cached_experts=2565,
        memory_bytes=64 * GB,
        disk_bytes_per_s=7 * GB,
        tokens_per_s=5.35,
        limit="upload",
    ),
    Streamed(
        name="the same: RTX 2080 Ti, 16 GB, 0.52 GB/s",
        line="RTX 2080 Ti + Xeon Gold 6230 + 2x8GB DDR4-2933",
        cached_experts=647,
        memory_bytes=16 * GB,
        disk_bytes_per_s=0.52 * GB,
        tokens_per_s=0.51,
        limit="disk",
    ),
    Streamed(
        name="the same: RTX 3060 12 GB, 755 GB of memory",
        line="RTX 3060 12GB + Xeon E5-2699 v3 + 4x64GB DDR4-2133",
        cached_experts=840,
        memory_bytes=755 * GB,
        disk_bytes_per_s=9 * GB,
        tokens_per_s=2.92,
        limit="upload",
    ),
)
"""Machines of flash-moe's paper (github.com/ssubbotin/flash-moe).

The paper states the CPUs and how many experts each GPU caches. The CPUs are an i9-13900KF, a Xeon
of Cascade Lake, and an E5-2696 v3; the largest CPU of its generation stands for the last. Rates of
disks are the rates at which experts were read.
"""

EXPERTS_PER_TOKEN = 4
"""Experts that flash-moe computes for each token; the model itself would compute ten."""

PROCESS_BYTES = 5.5 * GB
"""Host memory that flash-moe's process takes."""

EXPERT_BYTES = 6.75e6
"""Bytes of an expert, as flash-moe's paper states them."""

LATENCY_S = 100e-6


def streaming() -> Iterator[str]:
    """Yield a line for each published speed of a model larger than memory.

    A line has the measured and predicted speed, the error, and what limits the speed.
    """
    yield "| published | measured | predicted | off by | limited by |"
    yield "|---|---:|---:|---:|---|"
    for case in STREAMED:
        speed, limit = streamed(case)
        yield _line(case.name, case.tokens_per_s, speed, limit)
    found = predict(_maverick())
    name = "llama.cpp, mapped: Llama-4-Maverick 143 GiB, RTX 3090, 64 GB, `-ngl 3`"
    yield _line(name, 3.45, found.decode.tokens_per_s, found.decode.limit)
    prompt = found.prefill
    yield _line("the same, prompt of 512 tokens", 16.43, prompt.tokens_per_s, prompt.limit)


def streamed(case: Streamed) -> tuple[float, str]:
    """Return the predicted tokens a second, and the part of the time that is longest."""
    rates = read_bytes_per_weight("experts=0.5408;dense=0.5625")
    model = with_bytes_per_weight(load_model("qwen3.5-397b-a17b"), rates)
    disk = HostDisk(bytes_per_s=case.disk_bytes_per_s, latency_s=LATENCY_S)
    held = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
    arguments = read_runtime_arguments("llama.cpp", "-ngl 99 -cmoe")
    asked = RuntimeQuestion(
        runtime="llama.cpp",
        arguments=replace(arguments, experts_per_token=EXPERTS_PER_TOKEN),
        model=model,
        quantization="Q4_K_M",
        host=replace(host(case.line), disk=disk),
    )
    cached = CachedExperts(
        policy="lru",
        share=case.cached_experts * EXPERT_BYTES / held,
        misses=MissRule.STREAM,
        memory_share=(case.memory_bytes - RESERVED_BYTES - PROCESS_BYTES) / held,
    )
    step = cached_decode(asked, cached, locality_of(model.name), CacheRates(), shipped_constants())
    parts = {name: float(getattr(step.seconds, name)) for name in ("upload", "disk", "gpu_weights")}
    return step.tokens_per_s, max(parts, key=lambda name: parts[name])


def _maverick() -> RuntimeQuestion:
    """Return the question of a run reported on r/LocalLLaMA in April 2025.

    The report does not state the CPU; it states NVMe reads of 5 to 6 GiB/s.
    """
    return RuntimeQuestion(
        runtime="llama.cpp",
        arguments=read_runtime_arguments("llama.cpp", "-ngl 3"),
        model=load_model("llama-4-maverick", "UD-IQ2_M"),
        quantization="UD-IQ2_M",
        host=host("RTX 3090 + Ryzen 9 5950X + 2x32GB DDR4-3200 + NVMe 7GB/s"),
        context_tokens=128,
    )


def _line(name: str, measured: float, predicted: float, limit: str) -> str:
    off = f"{100 * (predicted / measured - 1):+.0f} %"
    return f"| {name} | {measured} | {predicted:.3g} | {off} | {WORDS.get(limit, limit)} |"


def _number(speed: float | None) -> str:
    return "–" if speed is None else f"{speed:.1f}"


def main() -> None:
    """Print the tables."""
    for table in (ladders, fetching, streaming):
        print("\n".join(table()), end="\n\n")


if __name__ == "__main__":
    main()
