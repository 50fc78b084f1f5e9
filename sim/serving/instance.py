"""One instance of a serving engine: continuous batching with chunked prefill over paged KV, as
vLLM's scheduler does it.

Each step gives every decoding sequence a token, then chunks of prefill in order of arrival up to
``max_step_tokens``. A prompt is admitted when blocks for all of it are there. When a decoding
sequence finds no block, the one admitted last is pre-empted: its blocks are freed and all of its
context is computed anew.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import simpy

from sim.serving.blend import Blend
from sim.serving.blocks import BlockPool
from sim.serving.clock import StepEnd
from sim.serving.decoding import DecodingSet
from sim.serving.handover import Handover
from sim.serving.lines import pipelined
from sim.serving.offload import Offload
from sim.serving.options import InstanceOptions
from sim.serving.prices import TICKS_PER_NS, StepPrices
from sim.serving.sequence import Sequence
from sim.workload.requests.prefix_keys import prefix_keys
from sim.workload.requests.request import Span

Chunk = tuple[Sequence, int]
"""A sequence and how many tokens of its context a step computes."""
Waiting = Generator[simpy.Event, Any, None]
"""A process, or part of one."""


@dataclass(slots=True, kw_only=True)
class _Leap:
    """Decode steps taken at once: from a clock in ticks, so many of them, until an event."""

    start_ticks: int
    num_steps: int
    end: StepEnd


@dataclass(slots=True, kw_only=True)
class Busy:
    """How an instance spent its time."""

    busy_ticks: int = 0
    num_steps: int = 0
    num_events: int = 0
    peak_blocks: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Instance:
    """One instance.

    ``on_end`` is told every sequence whose last token is out; requests come in through ``submit``.
    """

    env: simpy.Environment
    prices: StepPrices
    options: InstanceOptions
    pool: BlockPool
    on_end: Callable[[Sequence], None]
    offload: Offload | None = None
    handover: Handover | None = None
    on_admitted: Callable[[Sequence], None] | None = None
    busy: Busy = field(default_factory=Busy)
    decoding: DecodingSet = field(init=False)
    _waiting: list[tuple[int, Sequence]] = field(default_factory=list)
    _running: dict[int, Sequence] = field(default_factory=dict)
    _prefilling: list[Sequence] = field(default_factory=list)
    _loading: set[int] = field(default_factory=set)
    _num_coming: int = 0
    pending_tokens: int = 0
    _is_full: bool = False
    _clock_ticks: int = 0
    _idle: simpy.Event | None = None
    _leap: _Leap | None = None

    def __post_init__(self) -> None:
        self.decoding = DecodingSet(self.prices.attention, self.options.block_tokens)
        self.env.process(self._run())

    @property
    def num_live(self) -> int:
        """Sequences that wait or run here."""
        return self._num_coming + len(self._waiting) + len(self._running)

    def can_hold(self, context_tokens: int) -> bool:
        """Whether a sequence of that length fits at all; one block is kept for the growth of
        others.
        """
        return self._blocks(context_tokens) + 1 <= self.pool.num_blocks

    def found_tokens(self, sequence: Sequence) -> int:
        """Tokens of a prompt whose KV is on the GPUs already."""
        keys = self._keys(sequence)
        size = self.options.block_tokens
        return size * self.pool.match(keys, min(len(keys), (sequence.prompt_tokens - 1) // size))[0]

    def submit(self, sequence: Sequence) -> None:
        """A sequence arrives. It must fit."""
        sequence.target_tokens = sequence.prompt_tokens
        self._num_coming += 1
        self.pending_tokens += sequence.target_tokens
        if self.offload is not None and self.offload.has_deep_hits(sequence):
            self.env.process(self._prefetch(self.offload, sequence))
        else:
            self._queue(sequence)

    def _prefetch(self, offload: Offload, sequence: Sequence) -> Waiting:
        yield from offload.prefetch(sequence)
        self._queue(sequence)

    def _queue(self, sequence: Sequence) -> None:
        self._num_coming -= 1
        was_waiting = bool(self._waiting)
        heappush(self._waiting, (sequence.number, sequence))
        if not was_waiting and len(self._running) < self.options.max_sequences:
            self._wake()

    def _wake(self) -> None:
        """There may be something else to do than before."""
        if self._idle is not None:
            self._idle.succeed()
            self._idle = None
        elif self._leap is not None:
            self._cut(self._leap)

    def _run(self) -> Waiting:
        while True:
            has_room = self._make_room()  # after a pre-emption nobody is admitted for one step
            chunks = self._next_chunks(may_admit=has_room)
            if chunks:
                yield from self._step(chunks)
            elif len(self.decoding):
                yield from self._take_leap(None if has_room else 1)
            else:
                self._idle = self.env.event()
                yield self._idle
                self._clock_ticks = int(self.env.now) * TICKS_PER_NS

    def _make_room(self) -> bool:
        """Take the blocks that decoding needs for one more step, pre-empting as often as it takes;
        whether it took none.
        """
        has_room = True
        while (growth := self.decoding.growth(1)) > self.pool.num_available:
            self._preempt(
                next(
                    each
                    for each in reversed(self._running.values())
                    if each.number not in self._loading
                )
            )
            has_room = False
        self.pool.take(growth)
        return has_room

    def _next_chunks(self, *, may_admit: bool) -> list[Chunk]:
        left = self.options.max_step_tokens - len(self.decoding)
        chunks: list[Chunk] = []
        for sequence in self._prefilling:
            left = self._add_chunk(chunks, sequence, left)
        while (
            may_admit
            and left > 0
            and self._waiting
            and len(self._running) < self.options.max_sequences
            and not self._is_full
        ):
            sequence = self._waiting[0][1]
            if not self._admit(sequence):
                self._is_full = True
                break
            heappop(self._waiting)
            if sequence.number not in self._loading:
                left = self._add_chunk(chunks, sequence, left)
        self.busy.peak_blocks = max(self.busy.peak_blocks, self.pool.num_held)
        return chunks

    def _add_chunk(self, chunks: list[Chunk], sequence: Sequence, left: int) -> int:
        tokens = min(left, sequence.target_tokens - sequence.computed_tokens)
        if tokens:
            chunks.append((sequence, tokens))
        return left - tokens

    def _admit(self, sequence: Sequence) -> bool:
        """Give the sequence blocks for all of its context, those of its prefix that are here first;
        False if there are too few.
        """
        keys = self._keys(sequence)
        size = self.options.block_tokens
        target = sequence.target_tokens
        hits, num_unused = self.pool.match(keys, min(len(keys), (target - 1) // size))
        total = self._blocks(target)
        if total - hits + 1 > self.pool.num_available - num_unused:
            return False
        self.pool.hold(keys[:hits])
        self.pool.take(total - hits)
        sequence.num_blocks = total
        sequence.num_keyed = hits
        if sequence.admitted_ns is None:
            sequence.admitted_ns = int(self.env.now)
            sequence.hit_tokens["gpu"] = hits * size
        self._running[sequence.number] = sequence
        present = hits * size if self.offload is None else self.offload.plan(sequence, hits * size)
        sequence.computed_tokens = max(present, sequence.brought_tokens)
        sequence.brought_tokens = 0
        self.pending_tokens -= sequence.computed_tokens
        if self.on_admitted is not None:
            self.on_admitted(sequence)
        if self.offload is not None and self.offload.is_server and sequence.load is not None:
            self._loading.add(sequence.number)
            self.env.process(self._load_beside(self.offload, sequence))
        else:
            self._prefilling.append(sequence)
        return True

    def _load_beside(self, offload: Offload, sequence: Sequence) -> Waiting:
        yield from offload.load_beside(sequence)
        self._loading.remove(sequence.number)
        self._prefilling.append(sequence)
        self._wake()

    def _step(self, chunks: list[Chunk]) -> Waiting:
        """One step that computes chunks of prefill beside what decodes, and moves their KV if
        nobody else does.
        """
        offload = self.offload
        if offload is None or offload.is_server:
            yield self._pass(self._step_ticks(chunks))
        else:
            yield from self._step_and_move(offload, chunks)
        if len(self.decoding):
            self._decoded(1)
        for sequence, tokens in chunks:
            if self.handover is not None:
                yield from self._hand_over(self.handover, sequence, tokens)
            self._computed(sequence, tokens)
            if offload is not None and offload.is_server:
                self.env.process(offload.store_beside(sequence))

    def _hand_over(self, handover: Handover, sequence: Sequence, tokens: int) -> Waiting:
        """Let what a step computed of a prompt leave; those after it wait while there is no room
        for it.
        """
        before_ns = int(self.env.now)
        yield from handover.ship(sequence, sequence.computed_tokens + tokens)
        if int(self.env.now) > before_ns:
            self._clock_ticks = int(self.env.now) * TICKS_PER_NS

    def _step_and_move(self, offload: Offload, chunks: list[Chunk]) -> Waiting:
        """Fetch what the step loads, then copy it in, compute, and copy out what has become full:
        at once where layers are pipelined.
        """
        before_ns = int(self.env.now)
        copy_in_ns = yield from offload.bring(
            [sequence for sequence, _ in chunks if sequence.load is not None]
        )
        if int(self.env.now) > before_ns:
            self._clock_ticks = int(self.env.now) * TICKS_PER_NS
        stages = self.prices.num_layers if offload.options.is_layerwise else 1
        ticks, without_stores = self._compute_and_load_ticks(
            offload, chunks, copy_in_ns * TICKS_PER_NS, stages
        )
        yield self._pass(ticks, without_stores - ticks)
        copied = sum(
            offload.store(sequence, sequence.computed_tokens + tokens)
            for sequence, tokens in chunks
        )
        if copied:
            before = (
                (copy_in_ns * TICKS_PER_NS, ticks)
                if offload.options.blend is None
                else (without_stores,)
            )
            every = (*before, offload.copy_out_ns(copied) * TICKS_PER_NS)
            self._clock_ticks += pipelined(every, stages) - without_stores
            yield self._end_at(self._clock_ticks)

    def _compute_and_load_ticks(
        self, offload: Offload, chunks: list[Chunk], load_ticks: int, stages: int
    ) -> tuple[int, int]:
        """How long a step computes, and how long it takes with what it loads."""
        ticks = self._step_ticks(chunks)
        blend = offload.options.blend
        num_layers = self.prices.num_layers
        if blend is None:
            return ticks, pipelined((load_ticks, ticks), stages)
        mended = self._step_ticks(chunks, blend)
        return blend.duration(0, ticks, mended, num_layers), blend.duration(
            load_ticks, ticks, mended, num_layers
        )

    def _step_ticks(self, chunks: list[Chunk], blend: Blend | None = None) -> int:
        """All tokens of the chunks computed; with ``blend``, as in a layer that mends what was
        found.
        """
        kept = list(self.decoding.seen)
        pairs = list(self.decoding.seen)
        num_tokens = num_sampled = len(self.decoding)
        for sequence, tokens in chunks:
            first = sequence.computed_tokens
            end = sequence.computed_tokens + tokens
            computed = (
                tokens
                if blend is None
                else blend.computed_tokens(tokens, sequence.found_tokens(first, end))
            )
            num_tokens += computed
            num_sampled += end == sequence.target_tokens
            for index, part in enumerate(self.prices.attention):
                kept[index] += part.kept(first, end)
                pairs[index] += part.pairs(first, end) * computed // tokens
        return self.prices.step(num_tokens, num_sampled, kept, pairs)

    def _take_leap(self, max_steps: int | None) -> Waiting:
        """As many decode steps as are alike and find blocks; those of the first are taken already."""
        decoding = self.decoding
        start_ticks = self._clock_ticks
        steps = min(
            limit
            for limit in (decoding.alike_steps(), max_steps, self.options.max_leap_steps)
            if limit is not None
        )
        first = decoding.growth(1)
        steps = max(1, decoding.steps_within(self.pool.num_available + first, steps))
        self._leap = _Leap(
            start_ticks=start_ticks,
            num_steps=steps,
            end=self._end_at(start_ticks + self._leap_ticks(steps)),
        )
        yield self._leap.end
        taken = self._leap.num_steps
        self._leap = None
        self._passed(self._leap_ticks(taken), taken)
        self.pool.take(decoding.growth(taken) - first)
        self._decoded(taken)

    def _cut(self, leap: _Leap) -> None:
        """End the leap with the first step that ends now or later."""
        now_ticks = (
            int(self.env.now) - 1
        ) * TICKS_PER_NS  # a step's end is seen at the next whole nanosecond
        low = 0
        high = leap.num_steps
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (low, middle)
                if leap.start_ticks + self._leap_ticks(middle) > now_ticks
                else (middle, high)
            )
        if high < leap.num_steps:
            end = self._end_at(leap.start_ticks + self._leap_ticks(high))
            leap.end.hand_over(end)
            leap.num_steps = high
            leap.end = end

    def _leap_ticks(self, num_steps: int) -> int:
        decoding = self.decoding
        return self.prices.leap(len(decoding), decoding.seen, decoding.growing, num_steps)

    def _pass(self, ticks: int, stalled_ticks: int = 0) -> StepEnd:
        """A step that computes for so long, and stands still for so long while KV moves."""
        self._passed(ticks, 1)
        self._clock_ticks += stalled_ticks
        return self._end_at(self._clock_ticks)

    def _passed(self, ticks: int, num_steps: int) -> None:
        self._clock_ticks += ticks
        self.busy.busy_ticks += ticks
        self.busy.num_steps += num_steps
        self.busy.num_events += 1

    def _end_at(self, ticks: int) -> StepEnd:
        return StepEnd(self.env, -(-ticks // TICKS_PER_NS) - int(self.env.now))

    def _decoded(self, num_steps: int) -> None:
        self.decoding.advance(num_steps)
        for sequence in self.decoding.finished():
            sequence.num_blocks = self._blocks(self.decoding.remove(sequence))
            self._finish(sequence)

    def _computed(self, sequence: Sequence, tokens: int) -> None:
        """So many more tokens of a sequence's context have KV; with the last of them comes the next
        token.
        """
        sequence.computed_tokens += tokens
        self.pending_tokens -= tokens
        self._publish(sequence)
        if sequence.computed_tokens < sequence.target_tokens:
            return
        self._prefilling.remove(sequence)
        sequence.generated_tokens += 1
        if sequence.first_token_ns is None:
            sequence.first_token_ns = int(self.env.now)
        if sequence.tokens_left:
            self.decoding.add(sequence)
        else:
            self._finish(sequence)

    def _finish(self, sequence: Sequence) -> None:
        self._publish(sequence)
        self._release(sequence)
        self.on_end(sequence)

    def _preempt(self, sequence: Sequence) -> None:
        if sequence.computed_tokens == sequence.target_tokens:
            sequence.num_blocks = self._blocks(self.decoding.remove(sequence))
            self._publish(sequence)
        else:
            self._prefilling.remove(sequence)
            self.pending_tokens -= sequence.target_tokens - sequence.computed_tokens
        self._release(sequence)
        sequence.num_preemptions += 1
        sequence.target_tokens = sequence.prompt_tokens + sequence.generated_tokens
        sequence.computed_tokens = 0
        self.pending_tokens += sequence.target_tokens
        heappush(self._waiting, (sequence.number, sequence))

    def _publish(self, sequence: Sequence) -> None:
        """Name the blocks that have become full."""
        keys = self._keys(sequence)
        full = min(len(keys), sequence.computed_tokens // self.options.block_tokens)
        if full > sequence.num_keyed:
            self.pool.publish(keys[sequence.num_keyed : full])
            sequence.num_keyed = full

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(
            self._keys(sequence)[: sequence.num_keyed], sequence.num_blocks - sequence.num_keyed
        )
        sequence.num_blocks = sequence.num_keyed = 0
        del self._running[sequence.number]
        self._is_full = False

    def _keys(self, sequence: Sequence) -> tuple[int, ...]:
        """Keys of the blocks of prompt and answer, made when first needed; none without a prefix
        cache.
        """
        if sequence.keys is None:
            request = sequence.request
            answer = (
                ()
                if request.answer is None
                else (Span(content=request.answer, num_tokens=request.output_tokens),)
            )
            sequence.keys = (
                prefix_keys(request.prompt + answer, self.options.block_tokens)
                if self.options.has_prefix_cache
                else ()
            )
        return sequence.keys

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.options.block_tokens)
