"""The split of misses over CPU and link that is believed to end first when both work at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.base import Action, Dispatch, Problem
from sim.policies.dispatch.belief import Belief, Source, belief


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedDispatch(Dispatch):
    """Minimises max(sum on the CPU, sum of copies and GPU work), the aim stated in Fiddler's released code.

    A copy costs the same for any expert and the CPU's cost grows with tokens, so an optimal split gives the m
    experts of fewest tokens to the CPU, for some m; all m are tried. Ties: the smaller m.
    """

    believed_cost: Source = "measured"

    def assign(self, layer: int, tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], problem: Problem) -> NDArray[np.uint8]:
        """See Dispatch."""
        believed = belief(self.believed_cost, layer, problem)
        return np.where(_is_on_cpu(tokens, is_miss, believed), Action.CPU, Action.FETCH).astype(np.uint8)


def _is_on_cpu(tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], believed: Belief) -> NDArray[np.bool_]:
    """Per case and expert, whether the best split gives it to the CPU."""
    load = np.where(is_miss, tokens, np.iinfo(np.int32).max).astype(np.int64)
    order = np.argsort(load, axis=-1, kind="stable")
    num_misses = is_miss.sum(axis=-1, keepdims=True)
    ranks = np.arange(tokens.shape[-1] + 1)
    ascending = np.where(np.take_along_axis(is_miss, order, -1), np.take_along_axis(load, order, -1), 0)
    first = np.zeros((*tokens.shape[:-1], 1), np.int64)
    on_cpu = np.concatenate([first, np.cumsum(ascending, axis=-1)], axis=-1) * believed.cpu_ns_per_token
    on_link = (num_misses - ranks) * (believed.copy_ns + believed.gpu_ns)
    ends = np.where(ranks <= num_misses, np.maximum(on_cpu, on_link), np.iinfo(np.int64).max)
    best = ends.argmin(axis=-1)[..., None]
    rank_of = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(is_miss & (rank_of < best))
