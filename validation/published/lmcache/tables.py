"""Compare LMCache's tables with the simulator: tables without an engine, and tables that serve."""

from dataclasses import replace
from pathlib import Path

from validation.published.lmcache.google_cloud import changes, google_cloud_table
from validation.published.lmcache.hit_rates import hit_rate_table
from validation.published.lmcache.multi_round import gains, multi_round_table
from validation.published.lmcache.reuse import crossover_table, crossovers, reuse_table
from validation.published.lmcache.serving_summary import serving_summary
from validation.published.lmcache.summary import summary_of
from validation.published.lmcache.transfer import transfer_table
from validation.published.reproduction import Reproduction


def reproduce_lmcache(seed: int, requests: Path | None) -> Reproduction:
    """Reproduce all of LMCache's tables; without a request trace its hit rates are skipped."""
    closed = reproduce_without_engine(seed, requests)
    served = gains()
    changed = changes(seed)
    tables = (*closed.tables, multi_round_table(served), google_cloud_table(changed))
    return replace(
        closed, tables=tables, summary=(*closed.summary, *serving_summary(served, changed))
    )


def reproduce_without_engine(seed: int, requests: Path | None) -> Reproduction:
    """Reproduce the tables that need only arithmetic and a replay."""
    found = crossovers()
    tables = [transfer_table(), reuse_table(), crossover_table(found)]
    if requests is not None:
        tables.append(hit_rate_table(requests))
    return Reproduction(
        name="lmcache",
        title="LMCache (arXiv 2510.09665) and Mooncake (arXiv 2407.00079)",
        seed=seed,
        routing="nothing (these models are dense)",
        tables=tuple(tables),
        summary=summary_of(tuple(tables), found),
    )
