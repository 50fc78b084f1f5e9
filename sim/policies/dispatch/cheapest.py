"""Whichever of the CPU and a copy is believed cheaper: Fiddler's algorithm 1 (arXiv 2402.07033)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.base import Action, Dispatch, Problem
from sim.policies.dispatch.belief import Source, belief


@dataclass(frozen=True, slots=True, kw_only=True)
class CheapestDispatch(Dispatch):
    """A missing expert is fetched if its tokens are believed to take longer on the CPU than copy and GPU together.

    ``believed_cost`` is ``measured`` (the paper), ``code`` (the released constants: the CPU up to 9 tokens; a tie is fetched there, as its
    enumeration finds that assignment first, and stays with the CPU in the paper's rule) or ``priced`` (the machine's own prices).
    """

    believed_cost: Source = "measured"

    def assign(self, layer: int, tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], problem: Problem) -> NDArray[np.uint8]:
        """See Dispatch."""
        believed = belief(self.believed_cost, layer, tokens, problem)
        is_fetched = believed.on_cpu >= believed.on_gpu if self.believed_cost == "code" else believed.on_cpu > believed.on_gpu
        return np.where(is_fetched, Action.FETCH, Action.CPU).astype(np.uint8)
