"""Three small scenarios whose timelines are written down, so that a refactor proves that it changed
nothing.

After a change that is meant to change results, run ``python -m tests.sim.golden`` and say in the
commit why they differ.
"""

import json
from pathlib import Path

from sim.policies import find_policy
from sim.routing import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine

FILE = Path(__file__).with_suffix(".json")

SCENARIOS = {
    "fiddler, beams, half the experts": Scenario(
        machine=small_machine(overhead_ns=500, latency_ns=1000),
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=20, output_tokens=8, beams=4),
        policy=find_policy("fiddler"),
        routing=uniform(),
        seed=11,
        slots_per_layer=4,
    ),
    "mixtral-offloading, dense first layer and shared experts": Scenario(
        machine=small_machine(latency_ns=1000),
        model=MODELS["dense-first-and-shared"],
        batch=Batch(prompt_tokens=12, output_tokens=8),
        policy=find_policy("mixtral-offloading"),
        routing=uniform(),
        seed=12,
        slots_per_layer=3,
    ),
    "llama.cpp, long prompt": Scenario(
        machine=small_machine(3_500_000, overhead_ns=500),
        model=MODELS["windows-and-uneven-bytes"],
        batch=Batch(prompt_tokens=700, output_tokens=5),
        policy=find_policy("llama.cpp"),
        routing=uniform(),
        seed=13,
    ),
}
"""By name; machines and models are those of the tests, so that no library file changes them."""


def digests() -> dict[str, dict[str, object]]:
    """Timeline digest of every scenario, with figures that help to see what changed."""
    found: dict[str, dict[str, object]] = {}
    for name, scenario in SCENARIOS.items():
        run = simulate(scenario)
        assert isinstance(run, Run), f"{name}: {run}"
        found[name] = {
            "digest": run.timeline.digest,
            "makespan_ns": run.timeline.makespan_ns,
            "num_tasks": len(run.timeline.tasks),
            "h2d_bytes": run.metrics.h2d_bytes,
            "peak_gpu_memory_bytes": run.metrics.peak_gpu_memory_bytes,
        }
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(digests(), indent=2) + "\n", encoding="utf-8")
