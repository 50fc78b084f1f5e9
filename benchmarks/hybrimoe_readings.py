"""Compare readings of HybriMoE's cache, among them some that no policy here has.

``python -m benchmarks.hybrimoe_readings [TRACE ...]`` prints their hit rates.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sim.model.library import load_model
from sim.model.model import Model
from sim.policies import find_policy
from sim.policies.cache.lru import LruCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.routing import Draw, load_routing, load_trace
from validation.published.hybrimoe.replay import CacheReading, hit_rate_percent
from validation.published.hybrimoe.tables import BATCH, NUM_REQUESTS, TARGET_PERCENT
from validation.published.hybrimoe.tables import hit_rate_percent as policy_rate

ALPHAS = (0.5, 0.1)

READINGS: dict[str, CacheReading] = {
    "LRU, one by one": CacheReading(alpha=None, is_one_by_one=True),
    "S, one by one": CacheReading(alpha=0.5, is_one_by_one=True),
    "LRU, at once": CacheReading(alpha=None),
    "S, at once": CacheReading(alpha=0.5),
    "S, the highest are there": CacheReading(alpha=0.5, holds_highest=True),
    "LRU, one budget over all layers": CacheReading(alpha=None, is_pooled=True),
    "S, one budget over all layers": CacheReading(alpha=0.5, is_pooled=True),
}


def routings(traces: Sequence[str]) -> Iterator[tuple[str, Model, Draw]]:
    """Yield Mixtral's shipped routing, and recorded traces of DeepSeek-V2-Lite.

    In a trace, the part of 1 that the selected experts' gates leave is spread by popularity.
    """
    model = load_model("mixtral-8x7b")
    drawn = load_routing("mixtral-8x7b-gates", model).draw(
        model, NUM_REQUESTS, BATCH.prompt_tokens + BATCH.output_tokens - 1, 0
    )
    yield model.name, model, drawn
    model = load_model("deepseek-v2-lite")
    for path in traces:
        recorded = load_trace(Path(path))
        drawn = recorded.draw(model, NUM_REQUESTS, 1_000, 0)
        yield (
            Path(path).stem,
            model,
            replace(drawn, full=drawn.distribution(recorded.popularity(model))),
        )


def print_rates(name: str, label: str, rates: Sequence[float]) -> None:
    """Print a row of the table: one hit rate in percent, or one per alpha."""
    cells = [f"{rate:.1f} %" for rate in rates] + ["–"] * (2 - len(rates))
    print(f"| {name} | {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    # Without its prefetching, which would hide what the cache alone hits.
    whole = replace(find_policy("hybrimoe"), prefetch=find_policy("lru").prefetch)
    gated = load_routing("mixtral-8x7b-gates", load_model("mixtral-8x7b"))
    print("| routing | reading | alpha 0.5 | alpha 0.1 |\n|---|---|---|---|")
    print_rates(
        "mixtral-8x7b", "LRU, HybriMoE's scheduler", [policy_rate(LruCache(), gated, 0, rest=whole)]
    )
    scheduled = [
        policy_rate(SmoothedGateCache(alpha=alpha), gated, 0, rest=whole) for alpha in ALPHAS
    ]
    print_rates("mixtral-8x7b", "S, HybriMoE's scheduler", scheduled)
    for name, model, drawn in routings(sys.argv[1:]):
        slots = round(model.num_experts * TARGET_PERCENT / 100)
        for label, reading in READINGS.items():
            rates = [
                hit_rate_percent(
                    drawn, replace(reading, alpha=alpha), slots, first_token=BATCH.prompt_tokens
                )
                for alpha in (ALPHAS if reading.alpha is not None else (None,))
            ]
            print_rates(name, label, rates)
