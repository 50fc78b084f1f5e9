"""The duration of an instance's step: its tokens computed, and the KV that it loads beside them."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

from sim.serving.blend import Blend
from sim.serving.decoding import DecodingSet
from sim.serving.lines import pipelined
from sim.serving.prices import StepPrices
from sim.serving.sequence import Sequence

Chunk = tuple[Sequence, int]
"""A sequence and how many tokens of its context a step computes."""


def step_ticks(
    prices: StepPrices, decoding: DecodingSet, chunks: Items[Chunk], blend: Blend | None = None
) -> int:
    """Return the ticks of a step that computes chunks beside the decoding sequences.

    All tokens of the chunks are computed. With ``blend``, only as many are computed as in a layer
    that mends what was found.
    """
    kept = list(decoding.seen)
    pairs = list(decoding.seen)
    num_tokens = num_sampled = len(decoding)
    for sequence, tokens in chunks:
        first = sequence.computed_tokens
        end = sequence.computed_tokens + tokens
        computed = tokens
        if blend is not None:
            computed = blend.computed_tokens(tokens, sequence.found_tokens(first, end))
        num_tokens += computed
        # A chunk gives a token only where it ends the prompt: the head runs for no other.
        num_sampled += end == sequence.target_tokens
        for index, part in enumerate(prices.attention):
            kept[index] += part.kept(first, end)
            # Mended tokens lie anywhere in the chunk, so they look at its mean share of the context.
            pairs[index] += part.pairs(first, end) * computed // tokens
    return prices.step(num_tokens, num_sampled, kept, pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingStep:
    """A step that computes chunks and copies KV in for ``load_ticks``, pipelined over ``stages``."""

    prices: StepPrices
    decoding: DecodingSet
    chunks: Items[Chunk]
    load_ticks: int
    stages: int

    def ticks(self, blend: Blend | None) -> tuple[int, int]:
        """Return the ticks that the step computes, and the ticks that it takes with its loads."""
        ticks = step_ticks(self.prices, self.decoding, self.chunks)
        if blend is None:
            return ticks, pipelined((self.load_ticks, ticks), self.stages)
        # Blending is layer by layer: each takes the longer of its load and its computation, however
        # the transfers are pipelined otherwise.
        mended = step_ticks(self.prices, self.decoding, self.chunks, blend)
        num_layers = self.prices.num_layers
        return (
            blend.duration(0, ticks, mended, num_layers),
            blend.duration(self.load_ticks, ticks, mended, num_layers),
        )
