"""HybriMoE's cache against an LRU, on routing like Mixtral's."""

from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from hwprofiles import InputError, load_machine
from sim.model_library import load_model
from sim.policies import Action, Cache, find_policy
from sim.policies.cache.lru import LruCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.routing import Routing, load_routing
from sim.simulate import Run, Scenario, simulate
from sim.workload import Batch
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Comparison, Reproduction, SummaryLine, Table

RESIDENT_FRACTION = 0.25
POINTS = 3.0
"""What a hit rate may be off by, in points of 100."""

BATCH = Batch(prompt_tokens=64, output_tokens=257)
NUM_REQUESTS = 4
MACHINE = "a100-40"
"""Any machine: without prefetching no hit depends on a duration."""

LRU, SCORE = "LRU", "score cache"
OTHERS: dict[str, dict[str, Cache]] = {
    LRU: {},
    SCORE: {
        "alpha 0.1": SmoothedGateCache(alpha=0.1),
        "alpha 0.3": SmoothedGateCache(alpha=0.3),
        "selective, alpha 0.5": SmoothedGateCache(is_selective=True),
        "selective, alpha 0.3": SmoothedGateCache(alpha=0.3, is_selective=True),
        "selective, alpha 0.1": SmoothedGateCache(alpha=0.1, is_selective=True),
    },
}
"""What else is run beside a published system: other readings of the paper."""

ASSUMPTIONS = (
    f"Published: no prompts, no alpha, not what becomes of a fetched expert with a low score. Taken: {NUM_REQUESTS} requests, one "
    f"after another, each with a cache of its own, {BATCH.prompt_tokens} prompt tokens and {BATCH.output_tokens - 1} decoded ones, "
    "over which hits are counted; two of eight experts a layer; every miss is fetched and nothing is fetched ahead; alpha 0.5, as the "
    "released code has it, and as there every fetched expert stays in place of another. `selective`: it stays only if its score is not "
    "the least. No figure of the routing comes from these hit rates."
)


def reproduce_hybrimoe(seed: int, routing_popularity: Path | None) -> Reproduction:
    """Both hit rates. Raises InputError for a popularity file: it says nothing of gates."""
    if routing_popularity is not None:
        raise InputError(
            f"--routing popularity:{routing_popularity}: hybrimoe takes no popularity; its cache looks at gates, which counts lack"
        )
    routing = load_routing("mixtral-8x7b-gates", load_model("mixtral-8x7b"))
    cells = tuple(_cell(row, routing, seed) for row in published_rows("validation.published.hybrimoe", "hit_rates.csv"))
    return Reproduction(
        name="hybrimoe",
        title="HybriMoE's cache (arXiv 2504.05897)",
        seed=seed,
        routing=routing.description,
        tables=(Table(name="hit_rates", title="Hit rates, 25 % resident", assumptions=ASSUMPTIONS, cells=cells),),
        summary=summary_of(cells),
    )


def hit_rate_percent(cache: Cache, routing: Routing, seed: int) -> float:
    """Share of the selections of decoded tokens that are resident, the mean over requests."""
    return 100.0 * mean(_hits(cache, routing, seed + number) for number in range(NUM_REQUESTS))


def summary_of(cells: tuple[Cell, ...]) -> tuple[SummaryLine, ...]:
    """Each rate within POINTS, the order of the two, and the other readings without a target."""
    lru, score = cells
    gain = score.simulated - lru.simulated
    lines = [_line(cell) for cell in cells]
    found = f"{gain:+.1f} points, published {score.published - lru.published:+.1f}"
    lines.append(SummaryLine(name="score cache over LRU", target="above 0", found=found, is_met=gain > 0))
    for other in score.comparisons:
        lines.append(SummaryLine(name=f"score cache, {other.label}", target="no target", found=f"{other.simulated:.1f} %", is_met=None))
    return tuple(lines)


def _line(cell: Cell) -> SummaryLine:
    off = cell.simulated - cell.published
    found = f"{cell.simulated:.1f} %, published {cell.published:g}"
    return SummaryLine(name=cell.system, target=f"within {POINTS:g} points", found=found, is_met=abs(off) <= POINTS)


def _cell(row: PublishedRow, routing: Routing, seed: int) -> Cell:
    cache = LruCache() if row.system == LRU else SmoothedGateCache()
    others = OTHERS[row.system]
    sized = replace(row, input_tokens=BATCH.prompt_tokens, output_tokens=BATCH.output_tokens)
    compared = tuple(Comparison(label=label, simulated=hit_rate_percent(other, routing, seed)) for label, other in others.items())
    return cell_of(sized, hit_rate_percent(cache, routing, seed), comparisons=compared)


def _hits(cache: Cache, routing: Routing, seed: int) -> float:
    model = load_model("mixtral-8x7b")
    scenario = Scenario(
        machine=load_machine(MACHINE),
        model=model,
        batch=BATCH,
        policy=replace(find_policy("lru"), cache=cache),
        routing=routing,
        seed=seed,
        slots_per_layer=round(model.num_experts * RESIDENT_FRACTION),
    )
    run = simulate(scenario)
    assert isinstance(run, Run), "a quarter of Mixtral fits this machine"
    decoded = run.decisions.actions[~run.passes.is_prefill]
    return float(np.count_nonzero(decoded == Action.RESIDENT) / np.count_nonzero(decoded))
