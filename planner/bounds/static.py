"""Kinds of plan that the static bound covers, and the times of their layers and head.

The static bound says that no plan is faster whose residency stays fixed, and that fetches nothing
ahead of its gate except for the prompt. The kinds are plans that stream no layer; plans that stream
only layers without experts, or the head; plans that stream a layer with experts; and plans that
stream no layer, but copy single experts of the prompt ahead of their gates. Plans that stream copy
either ahead of a layer's window or within it, and they pay for the buffer. Each kind is bounded
apart, and the least is the bound. The proof is in docs/explanation/bounds.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.bounds.stores import Stores
from planner.bounds.work import Floats, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """A kind of plan, by what it copies besides missing experts behind their gates.

    A kind that ``is_early`` copies no layer, but single experts of the prompt ahead of their gates.
    Any other kind copies the head and layers without experts, and layers with experts where it
    ``has_experts``. A kind that ``is_ahead`` copies layers ahead of their windows. Else layers are
    copied within their windows, which needs less of a buffer and no weights. ``link_shares`` are
    the weights of the link's total in prefill and in decode.
    """

    has_experts: bool
    is_ahead: bool
    link_shares: tuple[float, float] = (0.0, 0.0)
    is_early: bool = False

    def buffer_bytes(self, stores: Stores) -> float:
        """Return the least bytes that this kind of plan keeps free for what it streams."""
        # Buffers for single experts are charged to no kind of plan: some budgets leave them out.
        if self.is_early:
            return 0.0
        return (stores.buffers if self.is_ahead else stores.part_buffers)[self.has_experts]


STREAMING = tuple(
    Streaming(has_experts=has_experts, is_ahead=is_ahead)
    for has_experts in (False, True)
    for is_ahead in (False, True)
)
EARLY = Streaming(has_experts=False, is_ahead=False, is_early=True)
KINDS = (*STREAMING, EARLY)


def ahead_share(work: Work, share: Floats, passes: NDArray[np.bool_]) -> float:
    """Return decode's largest weight of the link less prefill's least, at least 0.

    Copies for decode may be made before decode begins. Such copies take the link in prefill, so
    only the difference of the weights is lost. If no prefill is among the passes, decode's weight
    is lost in full.
    """
    in_decode = float((share * ~work.is_prefill)[passes].max(initial=0))
    # Copies for decode that were made in prefill took its link, whose weight they keep.
    in_prefill = float(share[work.is_prefill & passes].min(initial=np.inf))
    return max(0.0, in_decode - (in_prefill if np.isfinite(in_prefill) else 0.0))


def link_share_of(work: Work, streaming: Streaming | None) -> Floats:
    """Return the weight of the link's total in each pass [pass]."""
    shares = (0.0, 0.0) if streaming is None else streaming.link_shares
    return np.where(work.is_prefill, *shares)


def layer_times(work: Work, share: Floats, streaming: Streaming | None) -> tuple[Floats, Floats]:
    """Return two weighted times of layers [pass, layer], in ns.

    The first is the part of a resident layer that does not depend on its experts. The second is all
    of a layer that is not resident.
    """
    is_moe = np.zeros(work.serial_gpu.shape, bool)
    is_moe.ravel()[work.experts.cell_of] = True
    link = share[:, None]
    time = 1 - share[:, None]
    off = time * work.whole_cpu
    if streaming is not None and not streaming.is_early:
        link = link if streaming.is_ahead else time
        whole = time * (work.serial_gpu + work.ffn_gpu + work.experts_gpu) + link * work.layer_fetch
        # A kind that streams no experts leaves the layers that have some on the CPU.
        off = np.where(is_moe & (not streaming.has_experts), off, np.minimum(off, whole))
    on = time * np.where(is_moe, work.serial_gpu, work.serial_gpu + work.ffn_gpu)
    # A plan may run a resident layer as if it were not there, so the bound may not charge more.
    return np.minimum(on, off), off


def head_times(work: Work, share: Floats, streaming: Streaming | None) -> tuple[Floats, Floats]:
    """Return the weighted ns [pass] of the head where it is resident, and where it is not."""
    off = (1 - share) * work.head_cpu
    if streaming is not None and not streaming.is_early:
        link = share if streaming.is_ahead else 1 - share
        off = np.minimum(
            # A pass without a head copies none.
            off,
            (1 - share) * work.head_gpu + link * work.head_fetch * (work.head_gpu > 0),
        )
    return np.minimum((1 - share) * work.head_gpu, off), off
