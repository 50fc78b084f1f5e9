"""The static bound: no plan whose residency stays fixed, and that fetches nothing ahead of its gate, is faster.

The proof is in docs/explanation/bounds.md. Three kinds of plan are bounded apart, and the least is the bound: those that stream no layer; those
that stream only layers without experts, or the head; those that stream a layer with experts. The latter two pay the buffer.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.bounds.bound import Bound, seconds_below
from planner.bounds.dual import Multipliers, StaticDual
from planner.bounds.frontier import CellWork, frontiers
from planner.bounds.stores import LOOSEST, Stores, stores_of
from planner.bounds.work import Floats, Work, work_of
from sim.memory import MemoryRule
from sim.policies.base import Problem
from sim.workload import Passes

LINK_SHARES = (0.03, 0.1, 0.25, 0.45, 0.65, 0.85, 0.97)
"""Weights of the link's total against the layers' times that are tried for plans that stream; each gives a valid bound."""

RESOURCES = ("gpu", "cpu", "h2d", "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """What a kind of plan streams: the head and layers without experts, or those with experts too; and the weight of the link's total."""

    has_experts: bool
    link_share: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxed:
    """A phase's best bound in ns with its proof: the multipliers, and the relaxed problem that they belong to."""

    ns: float
    dual: StaticDual
    multipliers: Multipliers
    streaming: Streaming | None


def static_bound(problem: Problem, passes: Passes, tokens: NDArray[np.int32], rule: MemoryRule = LOOSEST) -> Bound:
    """The bound over those passes with those tokens per expert [pass, layer, expert], for plans within that memory rule."""
    work, stores = work_of(problem, passes, tokens), stores_of(problem, rule)
    whole, first, rest = (relaxed(work, stores, which) for which in phases(work))
    return Bound(
        end_to_end_s=seconds_below(max(whole.ns, first.ns + rest.ns)),
        ttft_s=seconds_below(first.ns),
        decode_s=seconds_below(rest.ns),
        binding_resource=binding_resource(work, whole),
        method="static: Lagrangian dual over fixed residency" + ("" if whole.streaming is None else ", layers streamed"),
    )


def phases(work: Work) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which passes make up the run, the time to the first token, and the time from there."""
    return np.ones(len(work.is_prefill), bool), work.is_prefill, ~work.is_prefill


def relaxed(work: Work, stores: Stores, passes: NDArray[np.bool_]) -> Relaxed:
    """The least of the bounds for each kind of plan, over the marked passes."""
    dual = relaxation(work, stores, passes, None)
    ns, multipliers = dual.solve()
    best = Relaxed(ns=ns, dual=dual, multipliers=multipliers, streaming=None)
    for has_experts in (False, True):
        other = _streamed(work, stores, passes, best, has_experts=has_experts)
        if other is not None and other.ns < best.ns:
            best = other
    return best


def _streamed(work: Work, stores: Stores, passes: NDArray[np.bool_], rival: Relaxed, *, has_experts: bool) -> Relaxed | None:
    """The bound for plans that stream; None where no buffer fits, or once they are proven slower than the rival."""
    if stores.buffers[has_experts] > stores.capacity_bytes:
        return None
    best = None
    for share in LINK_SHARES:
        streaming = Streaming(has_experts=has_experts, link_share=share)
        dual = relaxation(work, stores, passes, streaming)
        start = Multipliers(slope=rival.multipliers.slope * (1 - share), byte_price=rival.multipliers.byte_price * (1 - share))
        found = Relaxed(ns=dual.value_ns(start), dual=dual, multipliers=start, streaming=streaming)
        if found.ns >= rival.ns:
            return None
        if best is None or found.ns > best.ns:
            best = found
    assert best is not None
    ns, multipliers = best.dual.solve(best.multipliers)
    return replace(best, ns=ns, multipliers=multipliers)


def relaxation(work: Work, stores: Stores, passes: NDArray[np.bool_], streaming: Streaming | None) -> StaticDual:
    """The problem over the marked passes as its dual sees it."""
    on, off = _layers(work, streaming)
    head_on, head_off = _heads(work, streaming)
    experts, layers = work.experts, work.num_layers
    is_used = passes[experts.cell_of // layers]
    is_inside = np.repeat(is_used, np.diff(experts.offsets))
    cells = experts.cell_of[is_used]
    sizes = np.diff(experts.offsets)[is_used]
    sums = np.append(on[passes].sum(axis=0), head_on[passes].sum()), np.append(off[passes].sum(axis=0), head_off[passes].sum())
    room = stores.capacity_bytes - (0.0 if streaming is None else stores.buffers[streaming.has_experts])
    time_share = 1.0 if streaming is None else 1 - streaming.link_share
    late = passes.any() and not passes[0]
    return StaticDual(
        frontiers=frontiers(_cell_work(work, is_used, is_inside, off, on, streaming)),
        layer=cells % layers,
        cell=np.repeat(np.arange(len(cells)), sizes),
        item=experts.item[is_inside],
        item_bytes=np.repeat(stores.expert_bytes, stores.num_experts),
        item_layer=np.repeat(np.arange(layers), stores.num_experts),
        on_ns=sums[0],
        off_ns=sums[1],
        dense_bytes=np.append(stores.dense_bytes, stores.head_bytes),
        rest_ns=time_share * work.step_overhead * passes.sum() - (_ahead_ns(work, stores, streaming) if late else 0.0),
        capacity_bytes=room,
    )


def _layers(work: Work, streaming: Streaming | None) -> tuple[Floats, Floats]:
    """[pass, layer]: the part of a resident layer that does not depend on its experts, and all of a layer that is not resident."""
    is_moe = np.zeros(work.serial_gpu.shape, bool)
    is_moe.ravel()[work.experts.cell_of] = True
    time_share = 1.0 if streaming is None else 1 - streaming.link_share
    off = time_share * work.whole_cpu
    if streaming is not None:
        whole = time_share * (work.serial_gpu + work.ffn_gpu + work.experts_gpu) + streaming.link_share * work.layer_fetch
        off = np.where(is_moe & (not streaming.has_experts), off, np.minimum(off, whole))
    on = time_share * np.where(is_moe, work.serial_gpu, work.serial_gpu + work.ffn_gpu)
    return np.minimum(on, off), off


def _heads(work: Work, streaming: Streaming | None) -> tuple[Floats, Floats]:
    """[pass]: the head where it is resident, and where it is not."""
    time_share = 1.0 if streaming is None else 1 - streaming.link_share
    off = time_share * work.head_cpu
    if streaming is not None:
        off = np.minimum(off, time_share * work.head_gpu + streaming.link_share * work.head_fetch * (work.head_gpu > 0))
    return np.minimum(time_share * work.head_gpu, off), off


def _cell_work(
    work: Work, is_used: NDArray[np.bool_], is_inside: NDArray[np.bool_], off: Floats, on: Floats, streaming: Streaming | None
) -> CellWork:
    """The experts' work of the cells in use. However a resident layer is run, a cell takes no more than one that is not resident."""
    experts, cells = work.experts, work.experts.cell_of[is_used]
    index, layer = np.divmod(cells, work.num_layers)
    link_share = 0.0 if streaming is None else streaming.link_share
    return CellWork(
        cpu=experts.cpu_ns[is_inside],
        gpu=experts.gpu_ns[is_inside],
        tokens=experts.tokens[is_inside],
        offsets=np.append(0, np.cumsum(np.diff(experts.offsets)[is_used])),
        fetch=work.fetch[layer],
        beside=work.ffn_gpu.ravel()[cells],
        cap=(off - on).ravel()[cells],
        num_tokens=work.num_tokens[index],
        down=work.activations_d2h,
        up=work.activations_h2d,
        time_share=np.full(len(cells), 1 - link_share),
        link_share=np.full(len(cells), link_share),
    )


def _ahead_ns(work: Work, stores: Stores, streaming: Streaming | None) -> float:
    """What the link can have done for the passes before they began: filled the buffers, which fit GPU memory."""
    if streaming is None:
        return 0.0
    slowest = max(float((work.layer_fetch / np.maximum(stores.layer_bytes, 1)).max()), work.head_fetch / max(stores.head_bytes, 1.0))
    return streaming.link_share * slowest * stores.memory_bytes


def binding_resource(work: Work, found: Relaxed) -> str:
    """The resource that sets the pace for the longest part of the relaxed optimum."""
    kept, dense = found.dual.residency(found.multipliers, 1e-3)
    dual, held = found.dual, dense[found.dual.layer]
    missing = dual.total_weight - np.divide(dual.weights_by_cell @ kept, held, out=np.zeros(len(held)), where=held > 0)
    far = np.abs(dual.frontiers.missing - missing[dual.vertex_cell])
    order = np.lexsort((far, dual.vertex_cell))
    nearest = order[dual.frontiers.offsets[:-1]]
    busy = np.bincount(dual.frontiers.lane[nearest], dual.frontiers.ns[nearest] * held, minlength=len(RESOURCES))
    host = work.layer_overhead * work.serial_gpu.size + work.step_overhead * len(work.serial_gpu)
    busy[0] += float(dual.on_ns @ dense) - work.layer_overhead * work.serial_gpu.size
    busy[1] += float(dual.off_ns @ (1 - dense))
    busy[3] += host
    return RESOURCES[int(busy.argmax())]
