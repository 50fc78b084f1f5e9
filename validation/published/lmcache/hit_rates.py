"""Hit rates over a real trace, beside those of LMCache's own simulator."""

from pathlib import Path

from hwprofiles.units import parse_number
from sim.serving.kv import lru_curve
from sim.workload.requests import load_requests
from validation.published.lmcache.rows import rows
from validation.published.published_row import cell_of
from validation.published.reproduction import Table

BLOCK_TOKENS = 512
# As many as Llama-3.1-8B has in 16 bit: 2 × 32 layers × 8 heads × 128 × 2 bytes.
BYTES_PER_TOKEN = 131_072
UNLIMITED = "unlimited"


def hit_rate_table(trace: Path) -> Table:
    """Return hit rates of one LRU pool of several sizes over the trace.

    Raises InputError if the trace cannot be read.
    """
    curve = lru_curve(
        load_requests(str(trace)).requests(),
        block_tokens=BLOCK_TOKENS,
        bytes_per_token=BYTES_PER_TOKEN,
    )
    published = rows("hit_rates")
    results = [curve.result(_capacity(row.system)) for row in published]
    return Table(
        name="hit_rates",
        title="Token hit rates of one LRU pool",
        assumptions=f"The trace is {trace.name}; equal to LMCache's simulator only if it is Mooncake's conversation trace.",
        cells=tuple(
            cell_of(row, 100 * result.token_hit_rate)
            for row, result in zip(published, results, strict=True)
        ),
    )


def _capacity(words: str) -> int | None:
    return None if words == UNLIMITED else int(parse_number(words))
