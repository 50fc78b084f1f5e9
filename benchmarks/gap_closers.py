"""Show what stands between plans and the clairvoyant bound: python benchmarks/gap_closers.py.

For some cells of the grid, the table shows by how much the plan's mean end exceeds the clairvoyant
bound. Further columns show what remains above the same bound after one change. The changes are:
perfect prediction of up to three layers, a link four times as fast, twice the DRAM rate, and half
more GPU memory. Perfect prediction runs on the same machine, with the best cache of the future
among the caches. Each changed machine is planned anew.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.planner_grid import LOADS
from planner.bounds import mean_bounds
from planner.search.objectives import Goal
from planner.search.plan import Setting
from planner.search.search import Search, search
from sim.policies import Policy, find_policy
from sim.policies.cache.belady import BeladyCache
from sim.policies.cache.lru import LruCache
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.step.draws import simulate_draws
from sim.step.simulate import Question, Run, problem_of

CELLS = (
    ("mixtral-8x7b", "desktop-rtx-4090-ddr5"),
    ("mixtral-8x7b", "fiddler-e2"),
    ("deepseek-v2-lite", "desktop-rtx-3060-ddr4"),
    ("qwen3-30b-a3b", "desktop-rtx-4090-ddr5"),
)
CHANGES = {
    "link × 4": {"link.h2d.bytes_per_s": 4.0, "link.h2d.pageable_bytes_per_s": 4.0},
    "DRAM × 2": {"cpu.memory_bytes_per_s": 2.0},
    "memory × 1.5": {"gpu.memory_bytes": 1.5},
}
DRAWS = 4
NO_GAP = "none"


def foreseeing() -> Iterator[Policy]:
    """Yield policies with a perfect predictor of the next layer, or of the next three.

    Each prefetches what the predictor names, into an LRU cache or into one that evicts by the
    future (Belady).
    """
    base = find_policy("lru")
    for cache in (LruCache(), BeladyCache()):
        for distance in (1, 3):
            yield replace(
                base,
                placement=UniformPlacement(),
                cache=cache,
                prefetch=NextGatePrefetch(accuracy=1.0, distance=distance),
                dispatch=SpillDispatch(),
                overlap=Overlap(staging_experts=2),
            )


def changed(question: Question, factors: dict[str, float]) -> Question:
    """Return the question on a machine whose named quantities are multiplied by factors."""
    machine = question.machine
    for path, factor in factors.items():
        *parents, name = path.split(".")
        machine = _scaled(machine, parents, name, factor)
    return replace(question, machine=machine)


def _scaled(part: Any, parents: list[str], name: str, factor: float) -> Any:
    """Return a copy of a part of a machine with one quantity multiplied.

    A quantity that the machine does not state stays unstated.
    """
    if parents:
        child = getattr(part, parents[0])
        return part.model_copy(update={parents[0]: _scaled(child, parents[1:], name, factor)})
    quantity = getattr(part, name)
    if quantity is None:
        return part
    larger = quantity.model_copy(update={"value": quantity.value * factor})
    return part.model_copy(update={name: larger})


def row(model: str, machine: str) -> str:
    """One line of the table."""
    counts = LOADS["chat"] | {"draws": DRAWS}
    question = Setting.model_validate({"model": model, "machine": machine, **counts}).question()
    found = search(question, Goal(), DRAWS)
    assert isinstance(found, Search)
    bound_s = mean_bounds(problem_of(found.best.scenario), found.draws).clairvoyant_s
    ends_s = [found.best.metrics.end_to_end_s]
    runs = [simulate_draws(question.under(policy), DRAWS) for policy in foreseeing()]
    ends_s.append(min(run.metrics.end_to_end_s for run in runs if isinstance(run, Run)))
    for factors in CHANGES.values():
        better = search(changed(question, factors), Goal(), DRAWS)
        assert isinstance(better, Search)
        ends_s.append(better.best.metrics.end_to_end_s)
    cells = [f"{end_s / bound_s - 1:.0%}" if end_s > bound_s else NO_GAP for end_s in ends_s]
    return f"| {model} | {machine} | {bound_s:.3g} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    print(
        "| model | machine | clairvoyant bound, s | plan | perfect prediction | "
        + " | ".join(CHANGES)
        + " |"
    )
    print("|---|---|---|" + "---|" * (2 + len(CHANGES)))
    for cell in CELLS:
        print(row(*cell), flush=True)


if __name__ == "__main__":
    main()
