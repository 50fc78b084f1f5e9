"""The JSON keys of ``rosin kv-replay``."""

from rosin.report.document import Document


class ReplayedTrace(Document):
    """The requests that were replayed and counted.

    Another ``num_warmup_requests`` requests came first and are not counted.
    """

    name: str
    source: str
    num_requests: int
    num_warmup_requests: int
    prompt_tokens: int


class ReplayedPool(Document):
    """One pool, its settings and its hits; ``capacity_bytes`` is null for a pool without limit."""

    policy: str
    touch_order: str
    capacity_bytes: int | None
    token_hit_rate: float
    hit_tokens: int
    num_evictions: int
    held_bytes: int


class SufficientPool(Document):
    """The smallest LRU pool with ``share_fraction`` of the hits of a pool without limit."""

    share_fraction: float
    capacity_bytes: int


class KvReplayResult(Document):
    """The result of ``rosin kv-replay``, with pools in the order in which they were asked for.

    ``lru_sufficient`` is empty if each of the few pools was replayed by itself.
    """

    trace: ReplayedTrace
    block_tokens: int
    bytes_per_token: int
    rows: list[ReplayedPool]
    lru_sufficient: list[SufficientPool]
