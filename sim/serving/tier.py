"""A tier of KV behind the GPU: its capacity, its rates, and the chunks that it holds."""

from collections.abc import Set
from typing import Annotated

from pydantic import AfterValidator, Field

from hwprofiles import Provenance, closest, weakest
from hwprofiles.file_part import FilePart
from hwprofiles.units import NS_PER_S
from sim.serving.kv.block_store import BlockStore
from sim.serving.kv.eviction.library import EVICTIONS, eviction
from sim.serving.link import LinkQueue, TransferRate
from sim.serving.numbers import Above


class Compression(FilePart):
    """The compression of KV in a tier.

    KV takes 1 / ``factor`` of its bytes in the tier. Coding takes the full bytes at these rates,
    and no time where a rate is left out.
    """

    factor: Above
    encode_bytes_per_s: Above | None = None
    decode_bytes_per_s: Above | None = None

    def coding_ns(self, num_bytes: int, *, is_read: bool) -> int:
        """Return the ns to decode what is read, or to encode what is written; ``num_bytes`` are
        full bytes.
        """
        rate = self.decode_bytes_per_s if is_read else self.encode_bytes_per_s
        return 0 if rate is None else round(num_bytes / rate * NS_PER_S)


def _known_policy(name: str) -> str:
    if name not in EVICTIONS:
        raise ValueError(f"no policy {name[:60]!r}{closest(name, EVICTIONS)}")
    return name


class TierSpec(FilePart):
    """A tier of ``capacity_bytes`` in all (None: unlimited), read and written with one message a
    chunk.

    Rates left out are the machine's, for the names cpu, disk and remote. With ``is_duplex``, reads
    and writes do not wait for each other. With ``is_shared``, all instances share one tier; else
    each has one of this size.
    """

    name: Annotated[str, Field(min_length=1)]
    capacity_bytes: Annotated[Above, Field(ge=1)] | None = None
    read: TransferRate | None = None
    write: TransferRate | None = None
    policy: Annotated[str, AfterValidator(_known_policy)] = "lru"
    is_duplex: bool | None = None
    is_shared: bool | None = None
    compression: Compression | None = None


class TierOptions(TierSpec):
    """A tier whose rates are stated, and of which it is settled whether it is duplex and shared."""

    read: TransferRate
    write: TransferRate
    is_duplex: bool = True
    is_shared: bool = False

    @property
    def provenance(self) -> Provenance:
        """The weaker provenance of both rates."""
        return weakest([self.read.provenance, self.write.provenance])


class KvTier:
    """A tier during a run.

    A chunk that does not fit is not kept. No chunk of ``pinned_keys`` is evicted.
    """

    def __init__(self, options: TierOptions, chunk_bytes: int) -> None:
        self.options = options
        # A file may write bytes as 64e9; a store counts whole ones.
        size = options.capacity_bytes
        self.capacity_bytes = None if size is None else int(size)
        self.chunk_bytes = chunk_bytes
        factor = options.compression.factor if options.compression else 1.0
        # At least one byte, so that a store of limited size holds a limited number of chunks.
        self.stored_bytes = max(1, round(chunk_bytes / factor))
        self.store = BlockStore(
            block_bytes=self.stored_bytes,
            capacity_bytes=self.capacity_bytes,
            eviction=eviction(options.policy),
        )
        self.reads = LinkQueue()
        # One queue for both ways where they share the medium: reads then wait for writes.
        self.writes = LinkQueue() if options.is_duplex else self.reads
        self.num_stored = 0
        self.num_read = 0
        self.peak_bytes = 0
        self.pinned_keys: Set[int] = frozenset()

    @property
    def name(self) -> str:
        """The name of the tier in its options."""
        return self.options.name

    def read_ns(self, num_chunks: int) -> int:
        """Time in ns to read chunks, without waiting."""
        return self._duration_ns(self.options.read, num_chunks, is_read=True)

    def write_ns(self, num_chunks: int) -> int:
        """Time in ns to write chunks, without waiting."""
        return self._duration_ns(self.options.write, num_chunks, is_read=False)

    def keep(self, key: int) -> bool:
        """Store a chunk, evicting others where needed. Return whether it is held then."""
        if key in self.store:
            return True
        # It may fail: where all is pinned, or the tier is smaller than a chunk, nothing is kept.
        self.store.insert(key)
        is_held = key in self.store
        if is_held and key in self.pinned_keys:
            self.store.pin(key)
        self.num_stored += is_held
        self.peak_bytes = max(self.peak_bytes, self.store.held_bytes)
        return is_held

    def _duration_ns(self, rate: TransferRate, num_chunks: int, *, is_read: bool) -> int:
        taken_ns = rate.duration_ns(num_chunks, num_chunks * self.stored_bytes)
        if self.options.compression is None:
            return taken_ns
        full_bytes = num_chunks * self.chunk_bytes
        return taken_ns + self.options.compression.coding_ns(full_bytes, is_read=is_read)
