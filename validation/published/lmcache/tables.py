"""LMCache's tables against the simulator.

Tables that need the serving engine (multi-round question answering, Google Cloud's) belong here too: one file a table, as the
others, with its rows in a CSV file; join them to ``tables`` below and judge them in ``summary_of``.
"""

from pathlib import Path

from validation.published.lmcache.hit_rates import hit_rate_table
from validation.published.lmcache.reuse import crossover_table, crossovers, reuse_table
from validation.published.lmcache.summary import summary_of
from validation.published.lmcache.transfer import transfer_table
from validation.published.reproduction import Reproduction


def reproduce_lmcache(seed: int, requests: Path | None) -> Reproduction:
    """All of LMCache's tables; without a request trace its hit rates are skipped."""
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
