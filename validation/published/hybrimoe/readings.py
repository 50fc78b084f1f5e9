"""Readings of HybriMoE's cache that no policy here has, replayed: ``python -m validation.published.hybrimoe.readings [TRACE ...]``."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from sim.model import Model
from sim.model_library import load_model
from sim.policies import find_policy
from sim.policies.cache.lru import LruCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.routing import Draw, LatentRouting, load_routing, load_trace
from validation.published.hybrimoe.tables import BATCH, NUM_REQUESTS, TARGET_PERCENT
from validation.published.hybrimoe.tables import hit_rate_percent as policy_rate

Scores = NDArray[np.float64]

ALPHAS = (0.5, 0.1)
LASTING_SHARE = 0.216
"""How much of what persists to the next token lasts through the request, in `mixtral-8x7b-gates`; that file has the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is kept. ``alpha`` None: by recency instead of S. ``is_pooled``: one budget over all layers. ``holds_highest``: at every gate
    the experts of highest S are there, selected or not, as the released code's ``prefetch_expert`` fetches them; else each missing
    expert, by rank, takes the place of the least, be that one of the same token, as in its ``get_expert_to_unload``.
    """

    alpha: float | None
    is_pooled: bool = False
    holds_highest: bool = False


READINGS: dict[str, Reading] = {
    "LRU": Reading(alpha=None),
    "S, as released": Reading(alpha=0.5),
    "S, the highest are there": Reading(alpha=0.5, holds_highest=True),
    "LRU, one budget over all layers": Reading(alpha=None, is_pooled=True),
    "S, one budget over all layers": Reading(alpha=0.5, is_pooled=True),
}


def hit_rate_percent(draw: Draw, reading: Reading, num_slots: int, *, first_token: int) -> float:
    """Share of the selections from a token on that are resident, over sequences that each start with the lowest experts of every layer."""
    return 100.0 * mean(_hits(draw, sequence, reading, num_slots, first_token) for sequence in range(len(draw.ids)))


def smoothed(score: Scores, gate: NDArray[np.float32], alpha: float, kept: int) -> None:
    """S = alpha · TopP(s) + (1 - alpha) · S, in place [expert], where TopP keeps the ``kept`` largest shares."""
    least = np.partition(gate, -kept)[-kept]
    score *= 1.0 - alpha
    score += alpha * np.where(gate >= least, gate, 0.0)


def _hits(draw: Draw, sequence: int, reading: Reading, num_slots: int, first_token: int) -> float:
    assert draw.full is not None, "S needs the gates of all experts"
    ids, gates = draw.ids[sequence].astype(np.int64), draw.full[sequence]
    num_layers, num_experts = gates.shape[1:]
    worth, hits, asked = np.zeros((num_layers, num_experts)), 0, 0
    held = np.broadcast_to(np.arange(num_experts) < num_slots, worth.shape).copy()
    for token in range(len(ids)):
        for layer in range(num_layers):
            chosen = ids[token, layer]
            if reading.holds_highest:
                held[layer] = False
                held[layer, np.argsort(-worth[layer], kind="stable")[:num_slots]] = True
            found = held[layer, chosen]
            hits, asked = hits + int(found.sum()) * (token >= first_token), asked + len(chosen) * (token >= first_token)
            if reading.alpha is None:
                worth[layer, chosen] = token * num_layers + layer + 1 + 0.5 * ~found
            else:
                smoothed(worth[layer], gates[token, layer], reading.alpha, 2 * len(chosen))
            for expert in chosen[~found]:
                pool = slice(None) if reading.is_pooled else slice(layer, layer + 1)
                leaves = np.unravel_index(np.argmin(np.where(held[pool], worth[pool], np.inf)), held[pool].shape)
                held[pool][leaves] = False
                held[layer, expert] = True
    return hits / asked


def routings(traces: Sequence[str]) -> Iterator[tuple[str, Model, Draw]]:
    """Mixtral's shipped routing, the same with all that persists to the next token lasting through the request, and recorded traces of
    DeepSeek-V2-Lite, where what the selected experts' gates leave of 1 is spread by popularity.
    """
    model = load_model("mixtral-8x7b")
    stated = load_routing("mixtral-8x7b-gates", model)
    assert isinstance(stated, LatentRouting)
    lasting = tuple((place, share / LASTING_SHARE) for place, share in stated.request_share)
    for name, routing in (("as stated", stated), ("all lasts", replace(stated, request_share=lasting, fading=()))):
        yield name, model, routing.draw(model, NUM_REQUESTS, BATCH.prompt_tokens + BATCH.output_tokens - 1, 0)
    model = load_model("deepseek-v2-lite")
    for path in traces:
        recorded = load_trace(Path(path))
        drawn = recorded.draw(model, NUM_REQUESTS, 1_000, 0)
        yield Path(path).stem, model, replace(drawn, full=drawn.distribution(recorded.popularity(model)))


def print_rates(name: str, label: str, rates: Sequence[float]) -> None:
    """A row of the table: one rate, or one per alpha."""
    cells = [f"{rate:.1f} %" for rate in rates] + ["–"] * (2 - len(rates))
    print(f"| {name} | {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    whole = replace(find_policy("hybrimoe"), prefetch=find_policy("lru").prefetch)
    gated = load_routing("mixtral-8x7b-gates", load_model("mixtral-8x7b"))
    print("| routing | reading | alpha 0.5 | alpha 0.1 |\n|---|---|---|---|")
    print_rates("as stated", "LRU, HybriMoE's scheduler", [policy_rate(LruCache(), gated, 0, rest=whole)])
    print_rates(
        "as stated", "S, HybriMoE's scheduler", [policy_rate(SmoothedGateCache(alpha=alpha), gated, 0, rest=whole) for alpha in ALPHAS]
    )
    for name, model, drawn in routings(sys.argv[1:]):
        slots = round(model.num_experts * TARGET_PERCENT / 100)
        for label, reading in READINGS.items():
            rates = [
                hit_rate_percent(drawn, replace(reading, alpha=alpha), slots, first_token=BATCH.prompt_tokens)
                for alpha in (ALPHAS if reading.alpha is not None else (None,))
            ]
            print_rates(name, label, rates)
