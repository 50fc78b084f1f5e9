"""Routing statistics as a table with a column for each routing."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from rosin.report.tables import number_column, plain_table, text_column
from sim.routing.statistics import RoutingStatistics

UNKNOWN = "-"


def routing_tables(statistics: Mapping[str, RoutingStatistics]) -> Iterator[RenderableType]:
    """Yield a table of every statistic as a mean over layers, with a column for each routing."""
    table = plain_table(text_column("statistic"), *(number_column(name) for name in statistics))
    columns = [dict(rows(each)) for each in statistics.values()]
    # A trace without gate weights or token ids has fewer statistics than another.
    names = list(dict.fromkeys(name for column in columns for name in column))
    for name in names:
        table.add_row(name, *(_text(column.get(name, math.nan)) for column in columns))
    yield table
    yield Text(
        "\nMeans over layers. Each statistic is defined in docs/reference/routing.md; - stands for what is unknown."
    )


def rows(found: RoutingStatistics) -> Iterator[tuple[str, float]]:
    """Name and value of each statistic."""
    yield "tokens", found.num_tokens
    yield "sequences", found.num_sequences
    yield "popularity entropy / maximum", _mean(found.popularity_entropy_by_layer)
    yield "busiest expert / mean", _mean(found.busiest_ratio_by_layer)
    yield "reuse by independent draws", _mean(found.independent_reuse_by_layer)
    for lag, by_layer in found.reuse_by_layer.items():
        yield f"reuse {_counted(lag, 'token')} later", _mean(by_layer)
    for distance, recall in found.next_layer_recall.items():
        yield f"recall {_counted(distance, 'layer')} on, from ids", recall
    if found.same_token_recall_by_layer:
        yield "recall from the last same token", _mean(found.same_token_recall_by_layer)
    for batch, count in found.distinct_experts.items():
        yield f"distinct experts of {batch} tokens", count
    for tokens, value in found.request_entropy.items():
        yield f"request entropy after {tokens} tokens", value
    for cache in found.cache_hits:
        for policy, name in (("lru", "LRU"), ("lfu", "LFU"), ("belady", "Belady")):
            yield (
                f"{name} hits, {_counted(cache.num_slots, 'slot')}",
                _mean(getattr(cache, f"{policy}_fraction")),
            )
    for rank, weight in enumerate(found.gate_weight_by_rank, start=1):
        yield f"gate weight of rank {rank}", weight


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _text(value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
