"""A replay, for a person: the requests, and a line for each pool."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import GIB, THOUSAND, format_bytes
from rosin.commands.kv_replay.document import KvReplayResult
from rosin.report.tables import name_column, number_column, plain_table

UNLIMITED = "unlimited"
LEGEND = (
    "hits: share of all prompt tokens whose block, and every block before it, the pool held when the prompt came. "
    "evicted: blocks that had to go. held: in the pool at the end; without limit, all that the requests ever made."
)


def kv_replay_page(result: KvReplayResult) -> Iterator[RenderableType]:
    """Yield the requests that were replayed, the table, and the meaning of its columns."""
    trace = result.trace
    block_bytes = result.block_tokens * result.bytes_per_token
    yield Text(
        f"{trace.name}: {trace.num_requests:,} requests with {trace.prompt_tokens:,} prompt tokens{_warmup(result)}"
    )
    size = f"{result.block_tokens} tokens, {result.bytes_per_token:,} bytes a token, {format_bytes(block_bytes)} a block"
    yield Text(f"Whole blocks of {size}; no clock: only the order counts.\n")
    yield _table(result)
    # Where nothing can be found, the pool that suffices has no bytes, and no line is worth it.
    if result.lru_sufficient and any(each.capacity_bytes for each in result.lru_sufficient):
        yield Text(f"\n{_sufficient(result)}")
    yield Text(f"\n{LEGEND}")


def format_gib(num_bytes: int | None) -> str:
    """Return a pool's size in GiB, such as ``64 GiB``, or ``unlimited`` for None."""
    if num_bytes is None:
        return UNLIMITED
    size = num_bytes / GIB
    # Four digits are enough, so large sizes are whole.
    return f"{size:,.0f} GiB" if size >= THOUSAND else f"{size:.4g} GiB"


def _sufficient(result: KvReplayResult) -> str:
    parts = [
        f"{100 * each.share_fraction:g} % of that with {format_gib(each.capacity_bytes)}"
        for each in result.lru_sufficient
    ]
    return f"Without limit is the most that any pool can find; LRU finds {', '.join(parts)}."


def _warmup(result: KvReplayResult) -> str:
    count = result.trace.num_warmup_requests
    return f",\nafter {count} requests that warm up and are not counted" if count else ""


def _table(result: KvReplayResult) -> Table:
    columns = [
        number_column(name) for name in ("capacity", "hits", "hit tokens", "evicted", "held")
    ]
    table = plain_table(name_column("policy"), *columns)
    for row in result.rows:
        hits = f"{100 * row.token_hit_rate:.2f} %", f"{row.hit_tokens:,}"
        table.add_row(
            row.policy,
            format_gib(row.capacity_bytes),
            *hits,
            f"{row.num_evictions:,}",
            format_gib(row.held_bytes),
        )
    return table
