"""What ``rosin kv-replay`` writes as JSON, key by key."""

from rosin.report.document import Document


class ReplayedTrace(Document):
    """The requests that were replayed; ``num_warmup_requests`` more came first and are counted
    nowhere.
    """

    name: str
    source: str
    num_requests: int
    num_warmup_requests: int
    prompt_tokens: int


class ReplayedPool(Document):
    """One pool: what it was, and what it did; ``capacity_bytes`` is null without limit."""

    policy: str
    touch_order: str
    capacity_bytes: int | None
    token_hit_rate: float
    hit_tokens: int
    num_evictions: int
    held_bytes: int


class SufficientPool(Document):
    """The smallest LRU pool that has that share of the hits of one without limit."""

    share_fraction: float
    capacity_bytes: int


class KvReplayResult(Document):
    """What ``rosin kv-replay`` found, pools in the order they were asked for.

    ``lru_sufficient`` is empty where so few pools were asked for that each was replayed by itself.
    """

    trace: ReplayedTrace
    block_tokens: int
    bytes_per_token: int
    rows: list[ReplayedPool]
    lru_sufficient: list[SufficientPool]
