"""KV behind one instance's GPUs: finding it, deciding to load it, and moving it.

The semantics are those of LMCache 0.3.6 as arXiv 2510.09665 measured it (in-process), and of its
multi-process server. Chunks are named by the prefix that they end, and the first miss ends a match.
Only full chunks of prompts are stored, in every tier. Eviction drops a chunk; what is found in a
deeper tier is promoted to host memory. A prompt that is found whole computes its last token anew.
"""

from collections import Counter
from collections.abc import Generator, Mapping
from collections.abc import Sequence as Items
from typing import Any

import simpy

from sim.serving.blend import Blend
from sim.serving.kv.replay import TouchOrder
from sim.serving.link import LinkQueue
from sim.serving.offload_options import Loading, Mode, OffloadOptions
from sim.serving.pins import PinnedChunks
from sim.serving.prices import StepPrices
from sim.serving.sequence import ChunkLoad, Sequence
from sim.serving.tier import KvTier
from sim.workload.requests.content_keys import content_keys
from sim.workload.requests.prefix_keys import prefix_keys

Process = Generator[simpy.Event, Any, None]


class Offload:
    """The tiers as one instance sees them.

    The first tier is the host memory. Copies between it and the GPUs have links of their own.
    """

    def __init__(
        self,
        env: simpy.Environment,
        options: OffloadOptions,
        tiers: Items[KvTier],
        prices: StepPrices,
        pinned: PinnedChunks,
    ) -> None:
        self.options = options.rules
        self.copies_in = LinkQueue()
        self.copies_out = LinkQueue()
        self._env = env
        self._tiers = tuple(tiers)
        self._host = self._tiers[0]
        self._prices = prices
        self._pinned = pinned
        # Chunks on their way to a tier, by its name: two sequences of one prefix write it once.
        self._pending: set[tuple[str, int]] = set()

    @property
    def is_server(self) -> bool:
        """Whether KV moves beside the instance's steps."""
        return self.options.mode is Mode.SERVER

    def plan(self, sequence: Sequence, gpu_tokens: int) -> int:
        """Decide what an admitted sequence loads beyond its ``gpu_tokens``. Return how many tokens
        of its context have KV after the load.

        At least the last token of the context is left to compute. With ``blend``, loaded KV is
        mended, so ``gpu_tokens`` is returned.
        """
        keys = self._keys(sequence)
        size = self.options.chunk_tokens
        self._pinned.admitted(sequence.number, keys)
        if self.options.blend is not None:
            self._plan_blend(self.options.blend, sequence, gpu_tokens)
            return gpu_tokens
        places = self._search(keys)
        # What was found counts as used even where loading it turns out not to pay: it was looked
        # up.
        self._touch(keys[: len(places)], places)
        sequence.num_saved_chunks = len(places)
        start = gpu_tokens // size
        most = sequence.target_tokens - 1
        end = len(places)
        # The limit is on all that was found, before any part of it is left out.
        if min(end * size, most) - gpu_tokens < max(1, self.options.min_retrieve_tokens):
            end = start
        elif self.options.loading is Loading.CHEAPER:
            end = self._cheapest_end(places, start, gpu_tokens, sequence)
        origins = self._let_go(sequence)
        if min(end * size, most) <= gpu_tokens:
            return gpu_tokens
        sequence.load = ChunkLoad(keys=keys[start:end], places=tuple(places[start:end]))
        # Pinned until loaded: other sequences may evict in the meantime.
        for key, place in zip(sequence.load.keys, sequence.load.places, strict=True):
            self._tiers[place].store.pin(key)
        # Hits are of prompts; a sequence that was pre-empted finds its own KV again.
        if sequence.num_preemptions == 0:
            self._count_hits(sequence, origins, gpu_tokens, start)
        return min(end * size, most)

    def _plan_blend(self, blend: Blend, sequence: Sequence, gpu_tokens: int) -> None:
        """Decide whether an admitted sequence loads and mends the chunks that are found anywhere in
        its prompt.
        """
        size = self.options.chunk_tokens
        most = sequence.target_tokens - 1
        keys = self._keys(sequence)
        sequence.num_saved_chunks = 0
        sequence.found_ranges = ()
        found = [
            (chunk, place)
            for chunk, key in enumerate(keys)
            if (place := self._place(key)) is not None
        ]
        # Tail first: the beginning of a prompt, which more prompts share, is the last to go.
        for chunk, place in reversed(found):
            self._tiers[place].store.touch(keys[chunk])
        found = [
            (chunk, place) for chunk, place in found if gpu_tokens < min((chunk + 1) * size, most)
        ]
        ranges = tuple(
            (max(chunk * size, gpu_tokens), min((chunk + 1) * size, most)) for chunk, _ in found
        )
        num_found = sum(end - first for first, end in ranges)
        places = tuple(place for _, place in found)
        if num_found < max(1, self.options.min_retrieve_tokens):
            return
        if self.options.loading is Loading.CHEAPER and not self._is_blending_cheaper(
            blend, sequence, gpu_tokens, num_found, places
        ):
            return
        sequence.load = ChunkLoad(keys=tuple(keys[chunk] for chunk, _ in found), places=places)
        sequence.found_ranges = ranges
        for key, place, (first, end) in zip(sequence.load.keys, places, ranges, strict=True):
            self._tiers[place].store.pin(key)
            if sequence.num_preemptions == 0:
                name = self._tiers[place].name
                sequence.hit_tokens[name] = sequence.hit_tokens.get(name, 0) + end - first

    def _is_blending_cheaper(
        self, blend: Blend, sequence: Sequence, gpu_tokens: int, num_found: int, places: Items[int]
    ) -> bool:
        """Whether loading and mending is predicted to take less time than computing, with the
        queues as they are now.
        """
        full = self._prices.prefill_ns(gpu_tokens, sequence.target_tokens)
        num_tokens = sequence.target_tokens - gpu_tokens
        # An estimate for the decision: mending is taken as that share of computing.
        mended = full * blend.computed_tokens(num_tokens, num_found) // num_tokens
        copies_ns = self._host.read_ns(len(places))
        before_ns = self._load_ns(places) - copies_ns
        return before_ns + blend.duration(copies_ns, full, mended, self._prices.num_layers) < full

    def fetch(self, sequence: Sequence) -> Process:
        """Bring what a sequence loads from deeper tiers to host memory, tier after tier."""
        load = sequence.load
        assert load is not None
        for place, count in sorted(Counter(load.places).items()):
            if place:
                yield self._read(self._tiers[place], count)
        for key, place in zip(load.keys, load.places, strict=True):
            # Every copy passes host memory. In-process it stays there; the server drops it by
            # default.
            # Host memory itself is place 0; what is there only waits for the copy to the GPUs.
            if place and (not self.is_server or self.options.retains_deep_hits):
                self._keep_in_host(key)

    def loaded(self, sequence: Sequence) -> None:
        """Note that the load of a sequence is on the GPUs, and unpin its chunks."""
        load = sequence.load
        sequence.load = None
        assert load is not None
        self._host.num_read += len(load.keys)
        for key, place in zip(load.keys, load.places, strict=True):
            self._tiers[place].store.unpin(key)

    def copy_in_ns(self, sequence: Sequence) -> int:
        """Time in ns to copy what a sequence loads from host memory to the GPUs."""
        assert sequence.load is not None
        return self._host.read_ns(len(sequence.load.keys))

    def bring(self, loading: Items[Sequence]) -> Generator[simpy.Event, Any, int]:
        """Fetch what sequences load, one after the other, in the instance's process. Return the ns
        that copying all of it to the GPUs takes from then on.
        """
        copy_ns = 0
        for sequence in loading:
            yield from self.fetch(sequence)
            # Loads of a step are copied together, after the last of them has come from deeper
            # tiers.
            copy_ns += self.copy_in_ns(sequence)
            self.loaded(sequence)
        self.copies_in.reserve(int(self._env.now), copy_ns)
        return copy_ns

    def copy_out_ns(self, num_chunks: int) -> int:
        """Time in ns to copy chunks from the GPUs to host memory."""
        return self._host.write_ns(num_chunks) if num_chunks else 0

    def store(self, sequence: Sequence, computed_tokens: int) -> int:
        """Store the chunks that ``computed_tokens`` make full, in the instance's process.

        Return how many chunks must be copied to host memory. Chunks are stored one by one. A held
        chunk that is evicted for an earlier one is copied again. Head first, a held chunk is
        touched, as LMCache's simulator does it.
        """
        copied = []
        for key in self._unsaved(sequence, computed_tokens):
            # A chunk may have been evicted since the sequence was planned, so it is looked for
            # again.
            if key not in self._host.store:
                if self._keep_in_host(key):
                    copied.append(key)
            elif self.options.touch_order is TouchOrder.HEAD_FIRST:
                self._host.store.touch(key)
        self._write_deeper(copied)
        self.copies_out.reserve(int(self._env.now), self.copy_out_ns(len(copied)))
        return len(copied)

    def store_beside(self, sequence: Sequence) -> Process:
        """Copy the chunks that have become full to host memory, as the server does beside the
        instance. Chunks that are there, or on their way there, are not copied.
        """
        name = self._host.name
        keys = [
            key
            for key in self._unsaved(sequence, sequence.computed_tokens)
            if key not in self._host.store
        ]
        fresh = [key for key in keys if (name, key) not in self._pending]
        if not fresh:
            return
        # Marked before the copy starts: another sequence with the same prefix must not copy it too.
        self._pending.update((name, key) for key in fresh)
        now_ns = int(self._env.now)
        yield self._env.timeout(
            self.copies_out.reserve(now_ns, self.copy_out_ns(len(fresh))) - now_ns
        )
        self._pending.difference_update((name, key) for key in fresh)
        # Deeper tiers are written from host memory: what it does not take goes no further.
        self._write_deeper([key for key in fresh if self._keep_in_host(key)])

    def load_beside(self, sequence: Sequence) -> Process:
        """Bring what a sequence loads to the GPUs, as the server does beside the instance."""
        yield from self.fetch(sequence)
        now = int(self._env.now)
        yield self._env.timeout(self.copies_in.reserve(now, self.copy_in_ns(sequence)) - now)
        self.loaded(sequence)

    def has_deep_hits(self, sequence: Sequence) -> bool:
        """Whether a prefetch would bring any chunk of the sequence to host memory."""
        return self.options.prefetches and any(self._search(self._keys(sequence)))

    def prefetch(self, sequence: Sequence) -> Process:
        """Bring chunks from deeper tiers to host memory while the sequence waits, and pin them
        there until it is planned.
        """
        keys = self._keys(sequence)
        found = [
            (key, place) for key, place in zip(keys, self._search(keys), strict=False) if place
        ]
        for key, place in found:
            self._tiers[place].store.pin(key)
        for place, count in sorted(Counter(place for _, place in found).items()):
            yield self._read(self._tiers[place], count)
        # Unpinned below and pinned in host memory: the deeper tier may let go of it from then on.
        for key, place in found:
            self._tiers[place].store.unpin(key)
            if self._keep_in_host(key):
                self._host.store.pin(key)
                sequence.prefetched[key] = place

    def _let_go(self, sequence: Sequence) -> Mapping[int, int]:
        """Unpin the chunks prefetched for the sequence. Return the place that each came from."""
        origins = sequence.prefetched
        sequence.prefetched = {}
        for key in origins:
            self._host.store.unpin(key)
        return origins

    def _count_hits(
        self, sequence: Sequence, origins: Mapping[int, int], gpu_tokens: int, start: int
    ) -> None:
        assert sequence.load is not None
        size = self.options.chunk_tokens
        for chunk, (key, place) in enumerate(
            zip(sequence.load.keys, sequence.load.places, strict=True), start
        ):
            name = self._tiers[origins.get(key, place)].name
            tokens = (chunk + 1) * size - max(gpu_tokens, chunk * size)
            sequence.hit_tokens[name] = sequence.hit_tokens.get(name, 0) + tokens

    def _search(self, keys: Items[int]) -> list[int]:
        """Return the place of the first tier with each key, up to the first key in no tier."""
        places = []
        for key in keys:
            place = self._place(key)
            if place is None:
                break
            places.append(place)
        return places

    def _place(self, key: int) -> int | None:
        return next((index for index, tier in enumerate(self._tiers) if key in tier.store), None)

    def _touch(self, keys: Items[int], places: Items[int]) -> None:
        pairs = list(zip(keys, places, strict=True))
        for key, place in (
            pairs if self.options.touch_order is TouchOrder.HEAD_FIRST else reversed(pairs)
        ):
            self._tiers[place].store.touch(key)

    def _cheapest_end(
        self, places: Items[int], start: int, gpu_tokens: int, sequence: Sequence
    ) -> int:
        """Return the chunk up to which loading is predicted to be cheapest, given the queues now.
        The choices are ``start``, the end of ``places``, and each chunk at which the tier changes.
        """
        size = self.options.chunk_tokens
        target = sequence.target_tokens
        # Within one tier a further chunk costs as much to load as the last but more to compute, so
        # a minimum lies only at the ends of stretches of one tier.
        borders = [
            chunk for chunk in range(start + 1, len(places)) if places[chunk] != places[chunk - 1]
        ]
        costs = []
        for end in (start, *borders, len(places)):
            present = max(gpu_tokens, min(end * size, target - 1))
            costs.append(
                (self._load_ns(places[start:end]) + self._prices.prefill_ns(present, target), end)
            )
        return min(costs)[1]

    def _load_ns(self, places: Items[int]) -> int:
        """Predicted time in ns until chunks in those tiers are on the GPUs, waits included."""
        if not places:
            return 0
        now_ns = int(self._env.now)
        deep = sum(
            self._tiers[place].reads.wait_ns(now_ns) + self._tiers[place].read_ns(count)
            for place, count in Counter(places).items()
            if place
        )
        return deep + self.copies_in.wait_ns(now_ns) + self._host.read_ns(len(places))

    def _read(self, tier: KvTier, num_chunks: int) -> simpy.Event:
        now_ns = int(self._env.now)
        tier.num_read += num_chunks
        return self._env.timeout(tier.reads.reserve(now_ns, tier.read_ns(num_chunks)) - now_ns)

    def _keep_in_host(self, key: int) -> bool:
        """Keep a chunk in host memory, and return whether it is held there. The server never evicts
        for it: a full host memory takes nothing until the next sweep.
        """
        store = self._host.store
        if (
            self.is_server
            and key not in store
            and store.capacity_blocks is not None
            and len(store) >= store.capacity_blocks
        ):
            return False
        return self._host.keep(key)

    def _unsaved(self, sequence: Sequence, computed_tokens: int) -> Items[int]:
        """Return the keys of the chunks that have become full since the last call. From now on they
        count as saved.
        """
        saved = sequence.num_saved_chunks
        full = computed_tokens // self.options.chunk_tokens
        # A sequence that was pre-empted computes the same chunks again; they are not stored twice.
        sequence.num_saved_chunks = max(saved, full)
        return self._keys(sequence)[saved:full]

    def _write_deeper(self, keys: Items[int]) -> None:
        for tier in self._tiers[1:]:
            missing = [
                key
                for key in keys
                if key not in tier.store and (tier.name, key) not in self._pending
            ]
            if missing:
                self._env.process(self._write_through(tier, missing))

    def _write_through(self, tier: KvTier, keys: list[int]) -> Process:
        """Write chunks to a deeper tier, even if host memory lets go of them meanwhile: a buffer of
        the writer's holds them.
        """
        now_ns = int(self._env.now)
        self._pending.update((tier.name, key) for key in keys)
        yield self._env.timeout(tier.writes.reserve(now_ns, tier.write_ns(len(keys))) - now_ns)
        for key in keys:
            self._pending.discard((tier.name, key))
            tier.keep(key)

    def _keys(self, sequence: Sequence) -> tuple[int, ...]:
        # Made once: planning, prefetching and storing ask for the same keys.
        if sequence.chunk_keys is None:
            keys_of = prefix_keys if self.options.blend is None else content_keys
            sequence.chunk_keys = keys_of(sequence.request.prompt, self.options.chunk_tokens)
        return sequence.chunk_keys
