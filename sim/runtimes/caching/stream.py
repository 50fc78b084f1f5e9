"""Streams of one layer's choices, as caches see them: recorded, or generated with a stated locality."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.runtimes.caching.latent import StreamShape, latent_stream

IntArray = NDArray[np.int32]
REQUEST_TOKENS = 500
"""Tokens of a request: what lasts through one is drawn anew with the next."""

PROFILE_FRACTION = 0.1
"""The share of a stream, its beginning, on which a fixed set is profiled; the rest is replayed.

The published study has it too (github.com/harshithkantamneni/moe-speed-of-light, policy study).
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertStream:
    """Choices [token, rank] of one layer.

    ``profile`` [token, rank] are the choices before them, on which a fixed set is profiled.
    """

    ids: IntArray
    profile: IntArray
    num_experts: int

    @property
    def num_choices(self) -> int:
        """The number of choices in the stream, without the profile."""
        return int(self.ids.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentLocality:
    """The shares of a score's variance that last: an expert's own, a request's, and fading parts.

    ``fading`` is (memory in tokens, share) of each part. The defaults are those of the routing file
    qwen3-next-80b-a3b. Their reuse by distance is that of DeepSeek-V2-Lite's chats. Their amplitude
    gives an LRU of Qwen3.8-Flash-Next the published hits of 43.5 %.
    """

    popularity: float = 0.0115
    request: float = 0.0778
    fading: tuple[tuple[float, float], ...] = ((16.2, 0.1102), (0.764, 0.6624))

    def stream(self, num_experts: int, top_k: int, num_tokens: int, seed: int) -> ExpertStream:
        """Return a stream of ``num_tokens`` tokens, of which the beginning is the profile."""
        shares = [self.popularity, self.request, *(share for _, share in self.fading)]
        # Shares are of the variance; what they leave of 1 is new with every token.
        spreads = np.sqrt([*shares, max(0.0, 1.0 - sum(shares))])
        memories = np.array([memory for memory, _ in self.fading])
        shape = StreamShape(num_tokens, num_experts, top_k, REQUEST_TOKENS)
        return _profiled(latent_stream(shape, spreads, memories, seed), num_experts)


def recorded_stream(ids: NDArray[np.integer], num_experts: int) -> ExpertStream:
    """Return the stream of a recorded layer [token, rank], whose beginning is the profile."""
    return _profiled(np.ascontiguousarray(ids, np.int32), num_experts)


def _profiled(whole: IntArray, num_experts: int) -> ExpertStream:
    profiled = math.ceil(len(whole) * PROFILE_FRACTION)
    return ExpertStream(ids=whole[profiled:], profile=whole[:profiled], num_experts=num_experts)
