"""Compare HybriMoE's cache with an LRU, on routing like Mixtral's."""

from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from hwprofiles import load_machine
from sim.model.library import load_model
from sim.policies import Action, Cache, Policy, find_policy
from sim.policies.cache.lru import LruCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.routing import Draw, Routing, load_routing
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from validation.published.hybrimoe.replay import CacheReading
from validation.published.hybrimoe.replay import hit_rate_percent as replayed_percent
from validation.published.hybrimoe.speeds import speed_table
from validation.published.popularity import refuse_popularity
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Reproduction, SummaryLine, Table
from validation.published.target import Target, near, untargeted

TARGET_PERCENT = 25
"""Resident share of experts whose hit rates have targets; other shares only check."""
POINTS = 3.0
"""Largest error of a hit rate, or of the lead of one over the other, in percentage points."""

BATCH = Batch(prompt_tokens=64, output_tokens=257)
NUM_REQUESTS = 4
MACHINE = "a100-80"
"""A machine; any would do, because without prefetching no hit depends on a duration."""

LRU = "LRU"
SCORE = "score cache"
ALPHA = 0.5
READINGS = {
    LRU: CacheReading(alpha=None, is_one_by_one=True),
    SCORE: CacheReading(alpha=ALPHA, is_one_by_one=True),
}
AT_ONCE: dict[str, dict[str, Cache]] = {
    LRU: {"at once": LruCache()},
    SCORE: {
        "at once": SmoothedGateCache(),
        "at once, alpha 0.1": SmoothedGateCache(alpha=0.1),
        "at once, selective": SmoothedGateCache(is_selective=True),
        "at once, selective, alpha 0.1": SmoothedGateCache(alpha=0.1, is_selective=True),
    },
}
"""The simulator's caches beside a published system; they look up a token's experts all at once."""

ASSUMPTIONS = (
    f"Published: no prompts, no alpha, not how an expert is looked up. Taken: {NUM_REQUESTS} requests, one after another, each with a "
    f"cache of its own, {BATCH.prompt_tokens} prompt tokens and {BATCH.output_tokens - 1} decoded ones, over which hits are counted; as "
    f"many slots in every layer; every miss is fetched and nothing is fetched ahead; alpha {ALPHA:g} over the softmax of all experts, as "
    "the released code has it. A token's experts are looked up one after another, each fetched before the next is looked up: so asked, "
    "an LRU over Mixtral's own choices has 30.6 and 80.2 % (github.com/ljcleo/moe-lrc), close to HybriMoE's 30.2 and 80.6 %, by "
    "which this way of asking is chosen; asked at once, 36.3 % with a quarter resident. `at once`: as the "
    "simulator's caches are asked. `selective`: a fetched expert stays only if "
    "its score is not the least. No figure of the routing comes from HybriMoE's hit rates."
)


def reproduce_hybrimoe(seed: int, routing_popularity: Path | None) -> Reproduction:
    """Reproduce the hit rates of both caches, and the speeds.

    Raises InputError for a popularity file: it says nothing of gates.
    """
    refuse_popularity(routing_popularity, "hybrimoe", "its cache looks at gates, which counts lack")
    routing = load_routing("mixtral-8x7b-gates", load_model("mixtral-8x7b"))
    drawn = routing.draw(
        load_model("mixtral-8x7b"),
        NUM_REQUESTS,
        BATCH.prompt_tokens + BATCH.output_tokens - 1,
        seed,
    )
    cells = tuple(
        _cell(row, routing, drawn, seed)
        for row in published_rows("validation.published.hybrimoe", "hit_rates.csv")
    )
    return Reproduction(
        name="hybrimoe",
        title="HybriMoE's cache (arXiv 2504.05897)",
        seed=seed,
        routing=routing.description,
        tables=(
            Table(name="hit_rates", title="Hit rates", assumptions=ASSUMPTIONS, cells=cells),
            speed_table(seed),
        ),
        summary=summary_of(cells),
    )


def hit_rate_percent(
    cache: Cache,
    routing: Routing,
    seed: int,
    percent: int = TARGET_PERCENT,
    *,
    rest: Policy | None = None,
) -> float:
    """Return the share of decoded tokens' selections that are resident, in percent, over requests.

    ``percent`` of the experts are resident. ``rest`` has the policy's other parts; without it they
    are those of the row ``lru``, which fetches every miss.
    """
    policy = replace(rest or find_policy("lru"), cache=cache)
    return 100.0 * mean(
        _hits(policy, routing, seed + number, percent) for number in range(NUM_REQUESTS)
    )


def summary_of(cells: tuple[Cell, ...]) -> tuple[SummaryLine, ...]:
    """Return each hit rate, and the lead of one over the other, with targets within POINTS.

    All other rates have no target.
    """
    # The first two rows of the file are the ones with targets.
    lru, score, *others = cells
    gain = score.simulated - lru.simulated
    published = score.published - lru.published
    found = f"{gain:+.1f} points, published {published:+.1f}"
    lead = _target(published).line("score cache over LRU", found, gain)
    at_once = (
        untargeted(f"{cell.system}, {label}", f"{found_percent:.1f} %")
        for cell in (lru, score)
        for label, found_percent in cell.comparisons.items()
    )
    checks = (
        untargeted(f"{cell.system}, {percent_of(cell.quantity)} % resident", _found(cell))
        for cell in others
    )
    return _line(lru), _line(score), lead, *checks, *at_once


def percent_of(quantity: str) -> int:
    """Return the share of the experts that are resident for a published rate, in percent."""
    return int(quantity.split()[3])


def _line(cell: Cell) -> SummaryLine:
    return _target(cell.published).line(cell.system, _found(cell), cell.simulated)


def _target(published: float) -> Target:
    return near(published, POINTS, f"within {POINTS:g} points")


def _found(cell: Cell) -> str:
    return f"{cell.simulated:.1f} %, published {cell.published:g}"


def _cell(row: PublishedRow, routing: Routing, drawn: Draw, seed: int) -> Cell:
    percent = percent_of(row.quantity)
    slots = _slots(percent_of(row.quantity))
    at_once = (
        AT_ONCE[row.system]
        # Other readings are compared where there is a target; each costs whole simulations.
        if percent == TARGET_PERCENT
        else {"at once": AT_ONCE[row.system]["at once"]}
    )
    sized = replace(row, input_tokens=BATCH.prompt_tokens, output_tokens=BATCH.output_tokens)
    compared = {
        label: hit_rate_percent(cache, routing, seed, percent) for label, cache in at_once.items()
    }
    rate = replayed_percent(drawn, READINGS[row.system], slots, first_token=BATCH.prompt_tokens)
    return cell_of(sized, rate, comparisons=compared)


def _slots(percent: int) -> int:
    return round(load_model("mixtral-8x7b").num_experts * percent / 100)


def _hits(policy: Policy, routing: Routing, seed: int, percent: int) -> float:
    model = load_model("mixtral-8x7b")
    scenario = Scenario(
        machine=load_machine(MACHINE),
        model=model,
        batch=BATCH,
        policy=policy,
        routing=routing,
        seed=seed,
        slots_per_layer=_slots(percent),
    )
    run = simulate(scenario)
    assert isinstance(run, Run), "three quarters of Mixtral fit this machine"
    # A prompt selects nearly all experts of a layer at once, so no cache shows in it.
    decoded = run.decisions.actions[~run.passes.is_prefill]
    return float(np.count_nonzero(decoded == Action.RESIDENT) / np.count_nonzero(decoded))
