"""The split of misses over CPU and link that is believed to end first when both work at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.base import Action, Dispatch, Problem
from sim.policies.dispatch.belief import Source, belief


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedDispatch(Dispatch):
    """Minimises max(sum on the CPU, sum of copies and GPU work), the aim stated in Fiddler's released code.

    The m experts of fewest tokens go to the CPU; all m are tried. That is optimal where copies cost the same for any
    expert, since the CPU's cost grows with tokens. Ties: the smaller m.
    """

    believed_cost: Source = "priced"

    def assign(self, layer: int, tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], problem: Problem) -> NDArray[np.uint8]:
        """See Dispatch."""
        believed = belief(self.believed_cost, layer, tokens, problem)
        is_on_cpu = fewest_first(tokens, is_miss, np.where(is_miss, believed.on_cpu, 0), np.where(is_miss, believed.on_gpu, 0))
        return np.where(is_on_cpu, Action.CPU, Action.FETCH).astype(np.uint8)


def fewest_first(
    tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], on_cpu: NDArray[np.int64], on_gpu: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Per case and expert [..., expert], whether the best split that gives the fewest tokens to the CPU gives it there."""
    order = np.argsort(np.where(is_miss, tokens, np.iinfo(np.int32).max), axis=-1, kind="stable")
    none = np.zeros((*tokens.shape[:-1], 1), np.int64)
    cpu_total = np.concatenate([none, np.cumsum(np.take_along_axis(on_cpu, order, -1), axis=-1)], axis=-1)
    gpu_gone = np.concatenate([none, np.cumsum(np.take_along_axis(on_gpu, order, -1), axis=-1)], axis=-1)
    ends = np.maximum(cpu_total, gpu_gone[..., -1:] - gpu_gone)
    best = ends.argmin(axis=-1)[..., None]
    rank_of = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(is_miss & (rank_of < best))
