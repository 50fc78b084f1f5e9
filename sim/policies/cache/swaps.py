"""Residents that each prompt chooses anew by swaps, as DAOP has it (arXiv 2501.10375)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least
from sim.costs.memory import Residency
from sim.policies.cache.base import Cache
from sim.policies.cache.state import CacheState


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapsCache(Cache):
    """Pairs the layer's hottest missing experts with its coldest residents at each gate of a
    prefill pass, up to ``most_swaps`` pairs.

    A pair changes places if the missing expert has more than ``threshold`` times the resident's
    tokens. Both are copied: the resident goes back to the host, and the newcomer runs on the GPU at
    once. After the prompt nothing moves. Threshold, pairs and moment are those of the released
    code, github.com/ecolab-nus/DAOP (swap_in_out 1.05, largest_num 4). Assumed: a whole batch
    counts as one prompt.
    """

    threshold: float = 1.05
    most_swaps: int = 4

    def __post_init__(self) -> None:
        check_at_least(self, threshold=1, most_swaps=0)

    writes_back = True

    def start(self, residency: Residency) -> CacheState:
        """The residents before the first prompt."""
        return _Swapping(self, residency)


class _Swapping(CacheState):
    """The residents of every layer after the swaps so far."""

    def __init__(self, part: SwapsCache, residency: Residency) -> None:
        self._part = part
        self._held = residency.experts.copy()

    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the experts are held after the swaps so far."""
        return np.asarray(self._held[layer, experts])

    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Keep nothing: an expert that is fetched for one layer's run is used from a buffer."""
        return np.empty(0, np.int64)

    def reallocate(
        self, layer: int, tokens: NDArray[np.int32], *, is_prefill: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Swap the hottest missing experts of a prompt for the coldest residents; ties go to the
        lower expert.
        """
        if not is_prefill:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        held, missing = (np.flatnonzero(which) for which in (self._held[layer], ~self._held[layer]))
        hot = missing[np.argsort(-tokens[missing], kind="stable")]
        cold = held[np.argsort(tokens[held], kind="stable")]
        # The hottest with the coldest: a pair gains less than the one before it.
        pairs = min(len(hot), len(cold), self._part.most_swaps)
        is_better = tokens[hot[:pairs]] > self._part.threshold * tokens[cold[:pairs]]
        brought = hot[:pairs][is_better]
        left = cold[:pairs][is_better]
        self._held[layer, left] = False
        self._held[layer, brought] = True
        return brought, left

    @property
    def residents(self) -> NDArray[np.bool_]:
        """The experts held [layer, expert]; only prompts change them."""
        return self._held
