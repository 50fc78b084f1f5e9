"""One instance of a serving engine: continuous batching with chunked prefill over paged KV, as
vLLM's scheduler does it.

Each step gives every decoding sequence a token, then chunks of prefill in order of arrival up to
``max_step_tokens``. A prompt is admitted when blocks for all of it are there. When a decoding
sequence finds no block, the sequence admitted last is pre-empted: its blocks are freed and all of
its context is computed anew.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import simpy

from sim.serving.blocks import BlockPool
from sim.serving.clock import StepClock, StepEnd
from sim.serving.decoding import DecodingSet
from sim.serving.handover import Handover
from sim.serving.lines import pipelined
from sim.serving.offload import Offload
from sim.serving.options import InstanceOptions
from sim.serving.prices import TICKS_PER_NS, StepPrices
from sim.serving.sequence import Sequence
from sim.serving.sequence_blocks import SequenceBlocks
from sim.serving.step_ticks import Chunk, LoadingStep, step_ticks

Waiting = Generator[simpy.Event, Any, None]
"""A SimPy process, or part of one."""


@dataclass(slots=True, kw_only=True)
class _Leap:
    """Decode steps taken at once: the clock at their start in ticks, their number, and the event of
    their end.
    """

    start_ticks: int
    num_steps: int
    end: StepEnd


@dataclass(slots=True, kw_only=True, eq=False)
class Instance:
    """One instance of a serving engine.

    Requests come in through ``submit``. ``on_end`` is called with every sequence whose last token
    is out. ``on_admitted``, if set, is called with every sequence that gets blocks.
    """

    env: simpy.Environment
    prices: StepPrices
    options: InstanceOptions
    pool: BlockPool
    on_end: Callable[[Sequence], None]
    offload: Offload | None = None
    handover: Handover | None = None
    on_admitted: Callable[[Sequence], None] | None = None
    decoding: DecodingSet = field(init=False)
    blocks: SequenceBlocks = field(init=False)
    clock: StepClock = field(init=False)
    peak_blocks: int = 0
    _waiting: list[tuple[int, Sequence]] = field(default_factory=list)
    _running: dict[int, Sequence] = field(default_factory=dict)
    _prefilling: list[Sequence] = field(default_factory=list)
    _loading: set[int] = field(default_factory=set)
    _num_coming: int = 0
    pending_tokens: int = 0
    _is_full: bool = False
    _idle: simpy.Event | None = None
    _leap: _Leap | None = None

    def __post_init__(self) -> None:
        self.decoding = DecodingSet(self.prices.attention, self.options.block_tokens)
        self.blocks = SequenceBlocks(self.pool, self.options)
        self.clock = StepClock(self.env)
        self.env.process(self._run())

    @property
    def num_live(self) -> int:
        """The number of sequences that wait or run here, those that prefetch included."""
        return self._num_coming + len(self._waiting) + len(self._running)

    def can_hold(self, context_tokens: int) -> bool:
        """Whether a sequence of that length fits at all; one block is kept for the growth of
        others.
        """
        return self.blocks.count(context_tokens) + 1 <= self.pool.num_blocks

    def found_tokens(self, sequence: Sequence) -> int:
        """Return how many tokens of a prompt have KV on the GPUs already."""
        hits, _ = self.blocks.match(sequence, sequence.prompt_tokens)
        return hits * self.options.block_tokens

    def submit(self, sequence: Sequence) -> None:
        """Take a sequence, which must fit, as it arrives."""
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
        # By number, so that who was pre-empted comes before those who arrived after it.
        heappush(self._waiting, (sequence.number, sequence))
        if not was_waiting and len(self._running) < self.options.max_sequences:
            self._wake()

    def _wake(self) -> None:
        """Let the instance look for work again: end its idling, or cut its leap."""
        if self._idle is not None:
            self._idle.succeed()
            self._idle = None
        elif self._leap is not None:
            self._cut(self._leap)

    def _run(self) -> Waiting:
        while True:
            # After a pre-emption nobody is admitted for one step: the blocks just freed are for
            # those who decode.
            has_room = self._make_room()
            chunks = self._next_chunks(may_admit=has_room)
            if chunks:
                yield from self._step(chunks)
            elif len(self.decoding):
                yield from self._take_leap(None if has_room else 1)
            else:
                self._idle = self.env.event()
                yield self._idle
                self.clock.wake()

    def _make_room(self) -> bool:
        """Take the blocks that decoding needs for one more step, pre-empting sequences until there
        are enough.

        Return whether no sequence was pre-empted.
        """
        has_room = True
        while (growth := self.decoding.growth(1)) > self.pool.num_available:
            self._preempt(
                next(
                    each
                    # The one admitted last has the least to lose, and nobody starves: the first
                    # always goes on.
                    for each in reversed(self._running.values())
                    # Copies into its blocks are under way, so they cannot be given away.
                    if each.number not in self._loading
                )
            )
            has_room = False
        self.pool.take(growth)
        return has_room

    def _next_chunks(self, *, may_admit: bool) -> list[Chunk]:
        # Decoding comes first: every sequence that decodes gets its token in every step.
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
                # Asking again is of no use until somebody leaves.
                self._is_full = True
                break
            heappop(self._waiting)
            if sequence.number not in self._loading:
                left = self._add_chunk(chunks, sequence, left)
        self.peak_blocks = max(self.peak_blocks, self.pool.num_held)
        return chunks

    def _add_chunk(self, chunks: list[Chunk], sequence: Sequence, left: int) -> int:
        tokens = min(left, sequence.target_tokens - sequence.computed_tokens)
        if tokens:
            chunks.append((sequence, tokens))
        return left - tokens

    def _admit(self, sequence: Sequence) -> bool:
        """Give the sequence blocks for all of its context, those of its prefix that the pool has
        first. Return False where there are too few.
        """
        hits = self.blocks.claim(sequence)
        if hits is None:
            return False
        hit_tokens = hits * self.options.block_tokens
        if sequence.admitted_ns is None:
            # A sequence that was pre-empted comes here again; its wait and hits are of the first time.
            sequence.admitted_ns = int(self.env.now)
            sequence.hit_tokens["gpu"] = hit_tokens
        self._running[sequence.number] = sequence
        present = hit_tokens if self.offload is None else self.offload.plan(sequence, hit_tokens)
        sequence.computed_tokens = max(present, sequence.brought_tokens)
        sequence.brought_tokens = 0
        self.pending_tokens -= sequence.computed_tokens
        if self.on_admitted is not None:
            self.on_admitted(sequence)
        # Beside the server's copies the instance goes on with others; the sequence joins when they
        # end.
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
        """Take a step that computes chunks of prefill and a token of each decoding sequence.

        The step also moves the KV of the chunks, unless a server does.
        """
        offload = self.offload
        if offload is None or offload.is_server:
            yield self.clock.advance(step_ticks(self.prices, self.decoding, chunks))
        else:
            yield from self._step_and_move(offload, chunks)
        # Those who decode take part in every step, also in one of chunks.
        if len(self.decoding):
            self._decoded(1)
        for sequence, tokens in chunks:
            if self.handover is not None:
                yield from self._hand_over(self.handover, sequence, tokens)
            self._computed(sequence, tokens)
            if offload is not None and offload.is_server:
                self.env.process(offload.store_beside(sequence))

    def _hand_over(self, handover: Handover, sequence: Sequence, tokens: int) -> Waiting:
        """Send what a step computed of a prompt; the instance waits while the buffer has no
        room.
        """
        before_ns = int(self.env.now)
        yield from handover.ship(sequence, sequence.computed_tokens + tokens)
        self.clock.catch_up(before_ns)

    def _step_and_move(self, offload: Offload, chunks: list[Chunk]) -> Waiting:
        """Take a step with its transfers: fetch, copy in, compute, and copy out the chunks that
        have become full.

        Copies and computation overlap where layers are pipelined.
        """
        before_ns = int(self.env.now)
        copy_in_ns = yield from offload.bring(
            [sequence for sequence, _ in chunks if sequence.load is not None]
        )
        self.clock.catch_up(before_ns)
        stages = self.prices.num_layers if offload.options.is_layerwise else 1
        work = LoadingStep(
            prices=self.prices,
            decoding=self.decoding,
            chunks=chunks,
            load_ticks=copy_in_ns * TICKS_PER_NS,
            stages=stages,
        )
        ticks, without_stores = work.ticks(offload.options.blend)
        yield self.clock.advance(ticks, without_stores - ticks)
        # Chunks are copied out after the step, since only then they have KV.
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
            yield self.clock.stall(pipelined(every, stages) - without_stores)

    def _take_leap(self, max_steps: int | None) -> Waiting:
        """Take at once all decode steps that are alike and find blocks. The blocks of the first
        step were taken before.
        """
        decoding = self.decoding
        start_ticks = self.clock.ticks
        steps = min(
            limit
            for limit in (decoding.alike_steps(), max_steps, self.options.max_leap_steps)
            if limit is not None
        )
        first = decoding.growth(1)
        # The blocks of the first step are taken already, so one step is always possible.
        steps = max(1, decoding.steps_within(self.pool.num_available + first, steps))
        self._leap = _Leap(
            start_ticks=start_ticks,
            num_steps=steps,
            end=self.clock.end_at(start_ticks + self._leap_ticks(steps)),
        )
        yield self._leap.end
        taken = self._leap.num_steps
        self._leap = None
        self.clock.passed(self._leap_ticks(taken), taken)
        self.pool.take(decoding.growth(taken) - first)
        self._decoded(taken)

    def _cut(self, leap: _Leap) -> None:
        """End the leap with the first step that ends now or later."""
        # A step's end is seen at the next whole nanosecond.
        now_ticks = (int(self.env.now) - 1) * TICKS_PER_NS
        low = 0
        # The ends of steps rise, so the first that ends now or later is found by halving.
        high = leap.num_steps
        while high - low > 1:
            middle = (low + high) // 2
            if leap.start_ticks + self._leap_ticks(middle) > now_ticks:
                high = middle
            else:
                low = middle
        if high < leap.num_steps:
            end = self.clock.end_at(leap.start_ticks + self._leap_ticks(high))
            # The process waits for the old end; it must wake at the new one instead.
            leap.end.hand_over(end)
            leap.num_steps = high
            leap.end = end

    def _leap_ticks(self, num_steps: int) -> int:
        decoding = self.decoding
        return self.prices.leap(len(decoding), decoding.seen, decoding.growing, num_steps)

    def _decoded(self, num_steps: int) -> None:
        self.decoding.advance(num_steps)
        for sequence in self.decoding.finished():
            sequence.num_blocks = self.blocks.count(self.decoding.remove(sequence))
            self._finish(sequence)

    def _computed(self, sequence: Sequence, tokens: int) -> None:
        """Note that ``tokens`` more tokens of a sequence's context have KV. With the last token of
        the context, the next token comes out.
        """
        sequence.computed_tokens += tokens
        self.pending_tokens -= tokens
        # Each chunk's blocks can be found at once, by prompts that share only the beginning.
        self.blocks.publish(sequence)
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
        self.blocks.publish(sequence)
        self._release(sequence)
        self.on_end(sequence)

    def _preempt(self, sequence: Sequence) -> None:
        if sequence.computed_tokens == sequence.target_tokens:
            sequence.num_blocks = self.blocks.count(self.decoding.remove(sequence))
            self.blocks.publish(sequence)
        else:
            self._prefilling.remove(sequence)
            # What was still to compute is counted anew below, with the whole context.
            self.pending_tokens -= sequence.target_tokens - sequence.computed_tokens
        self._release(sequence)
        sequence.num_preemptions += 1
        sequence.target_tokens = sequence.prompt_tokens + sequence.generated_tokens
        # KV is not moved away but computed again, as vLLM's scheduler does by default.
        sequence.computed_tokens = 0
        self.pending_tokens += sequence.target_tokens
        heappush(self._waiting, (sequence.number, sequence))

    def _release(self, sequence: Sequence) -> None:
        self.blocks.release(sequence)
        del self._running[sequence.number]
        self._is_full = False
