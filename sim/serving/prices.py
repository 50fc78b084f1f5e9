"""Prices of one step of a serving engine: a batch of prefill chunks and decoding sequences, in one
forward pass.

Prices are whole numbers of ticks, so that many steps at once cost exactly what they cost one by
one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hwprofiles import Provenance
from sim.serving.lines import sum_of_max

TICKS_PER_NS = 2**20
"""The number of ticks in a nanosecond. The engines of the step scale keep remaining work in the
same grain.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLine:
    """Ticks of one layer's attention, as a sum of four parts.

    ``fixed`` is for each step, ``token`` for each token, ``kept`` for each token of KV read, and
    ``pair`` for each query-key pair.
    """

    fixed: int
    token: int
    kept: int
    pair: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPrice:
    """The price of attention in ``num_layers`` equal layers, in ticks.

    A layer takes the longest of ``floor`` and ``lines``. One line is for steps that read longer
    than they compute, one for the others. Keys older than ``window_tokens`` are not looked at.

    Where ``is_state``, a state stands for the cache. A sequence reads and writes the state once a
    step, and each of its tokens computes with it. The state does not grow, and ``window_tokens`` is
    1.
    """

    num_layers: int
    window_tokens: int | None
    floor: int
    lines: tuple[AttentionLine, ...]
    is_state: bool = False

    def kept(self, first: int, end: int) -> int:
        """Return how many tokens of KV a sequence's tokens first … end − 1 read; for a state, 1."""
        if self.is_state:
            return 1
        return end if self.window_tokens is None else min(end, self.window_tokens + end - first - 1)

    def pairs(self, first: int, end: int) -> int:
        """Return the query-key pairs of the tokens first … end − 1. Each token sees itself and the
        tokens before it within the window.
        """
        return self._pairs_from_start(end) - self._pairs_from_start(first)

    def seen(self, context_tokens: int) -> int:
        """Return how many tokens a decoding sequence looks at, its newest included.

        The sequence reads as many tokens of KV, and has as many pairs.
        """
        return (
            context_tokens
            if self.window_tokens is None
            else min(context_tokens, self.window_tokens)
        )

    def step(self, num_tokens: int, kept: int, pairs: int) -> int:
        """Return the ticks of one step in all ``num_layers`` layers."""
        sums = (
            line.fixed + line.token * num_tokens + line.kept * kept + line.pair * pairs
            for line in self.lines
        )
        return self.num_layers * max(self.floor, *sums)

    def leap(self, num_sequences: int, seen: int, growing: int, num_steps: int) -> int:
        """Return the ticks of ``num_steps`` decode steps of the same sequences in all
        ``num_layers`` layers.

        The first step looks at ``seen`` tokens, each later step at ``growing`` more.
        """
        # The floor is a line that does not rise, so that the sum has one rule for all.
        lines = [(self.floor, 0)]
        for line in self.lines:
            # A decoding sequence reads as many tokens of KV as it has pairs: its one query sees
            # each once.
            each = line.kept + line.pair
            lines.append((line.fixed + line.token * num_sequences + each * seen, each * growing))
        return self.num_layers * sum_of_max(lines, num_steps)

    def _pairs_from_start(self, length: int) -> int:
        if self.is_state:
            return length
        inside = length if self.window_tokens is None else min(length, self.window_tokens)
        return inside * (inside + 1) // 2 + (length - inside) * inside


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPrices:
    """Ticks of a step: ``base[tokens]`` for all but attention and vocabulary, ``head[sequences]``
    for the vocabulary, and ``attention``.

    ``base`` and ``head`` start at 0 tokens and 0 sequences, and their lengths limit what a step may
    hold. ``warnings`` say what is left out.
    """

    base: tuple[int, ...]
    head: tuple[int, ...]
    attention: tuple[AttentionPrice, ...]
    num_layers: int
    provenance: Provenance
    warnings: tuple[str, ...] = field(default=())

    def step(
        self, num_tokens: int, num_sampled: int, kept: Sequence[int], pairs: Sequence[int]
    ) -> int:
        """Return the ticks of one step. ``kept`` and ``pairs`` are sums over the batch, one for
        each entry of ``attention``.
        """
        ticks = self.base[num_tokens] + self.head[num_sampled]
        for part, read, seen in zip(self.attention, kept, pairs, strict=True):
            ticks += part.step(num_tokens, read, seen)
        return ticks

    def leap(
        self, num_sequences: int, seen: Sequence[int], growing: Sequence[int], num_steps: int
    ) -> int:
        """Ticks of that many steps that only decode; equal to as many calls of ``step``."""
        ticks = num_steps * (self.base[num_sequences] + self.head[num_sequences])
        for part, first, more in zip(self.attention, seen, growing, strict=True):
            ticks += part.leap(num_sequences, first, more, num_steps)
        return ticks

    def prefill_ns(self, first: int, end: int) -> int:
        """Estimate, for decisions, the ns that the tokens first … end − 1 of one prompt take alone.

        The steps are as long as prices reach; the vocabulary is left out.
        """
        ticks = 0
        longest = len(self.base) - 1
        while first < end:
            stop = min(end, first + longest)
            kept = [part.kept(first, stop) for part in self.attention]
            pairs = [part.pairs(first, stop) for part in self.attention]
            # No head: a decision compares loading with computing, and both sample one token.
            ticks += self.step(stop - first, 0, kept, pairs)
            first = stop
        return ticks // TICKS_PER_NS
