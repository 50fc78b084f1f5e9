"""A request inside an instance: how far it is, and what it holds."""

from dataclasses import dataclass, field

from sim.workload.requests.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLoad:
    """Chunks that a sequence is about to load: their keys, and the tier of each (its place in the
    search), where they are pinned.
    """

    keys: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """A request that an instance has taken on, and everything about it that changes.

    ``keys`` name the full blocks of prompt and answer. The next ``target_tokens`` of context must
    be computed before the next token comes out: the prompt, and after a pre-emption what was
    generated too. The sequence holds ``num_blocks`` blocks of KV, and shares the first ``num_keyed``
    of them under their keys. ``joining`` tells its times in the decoding set apart.
    ``chunk_keys`` name what tiers may hold of its prompt; the first ``num_saved_chunks`` need no
    storing; ``prefetched`` are pinned for it. ``found_ranges`` of its context, first to end, have
    KV that is mended, not computed. ``brought_tokens`` of its KV come from another instance as it
    is admitted.
    """

    request: Request
    prompt_tokens: int
    arrival_ns: int
    keys: tuple[int, ...] | None = None
    target_tokens: int = 0
    computed_tokens: int = 0
    generated_tokens: int = 0
    num_blocks: int = 0
    num_keyed: int = 0
    joining: int = 0
    joined_step: int = 0
    joined_tokens: int = 0
    admitted_ns: int | None = None
    first_token_ns: int | None = None
    num_preemptions: int = 0
    hit_tokens: dict[str, int] = field(default_factory=dict)
    chunk_keys: tuple[int, ...] | None = None
    num_saved_chunks: int = 0
    load: ChunkLoad | None = None
    brought_tokens: int = 0
    prefetched: dict[int, int] = field(default_factory=dict)
    found_ranges: tuple[tuple[int, int], ...] = ()

    @property
    def number(self) -> int:
        """The request's number: requests are served in this order."""
        return self.request.number

    def found_tokens(self, first: int, end: int) -> int:
        """Return how many of the tokens first … end − 1 have KV that is mended."""
        return sum(max(0, min(end, stop) - max(first, start)) for start, stop in self.found_ranges)

    @property
    def tokens_left(self) -> int:
        """Output tokens still to come."""
        return self.request.output_tokens - self.generated_tokens
