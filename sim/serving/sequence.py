"""A request inside an instance: its progress, and the KV that it holds."""

from dataclasses import dataclass, field

from sim.workload.requests.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLoad:
    """Chunks that a sequence is about to load: their keys, and the place of each one's tier in the
    search. The chunks are pinned in these tiers.
    """

    keys: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """A request that an instance has taken on, and everything about it that changes.

    ``keys`` name the full blocks of prompt and answer. The next token comes out once
    ``target_tokens`` of context are computed: the prompt, and after a pre-emption the generated
    tokens too. The sequence holds ``num_blocks`` blocks of KV, and shares the first ``num_keyed``
    of them under their keys. ``joining`` numbers the times that sequences joined the decoding set.
    ``chunk_keys`` name the chunks of its prompt that tiers may hold. The first ``num_saved_chunks``
    chunks need no storing; chunks in ``prefetched`` are pinned for the sequence. Tokens in
    ``found_ranges``, each from first to end, have KV that is mended, not computed.
    ``brought_tokens`` have KV that comes from another instance as the sequence is admitted.
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
