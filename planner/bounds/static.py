"""The static bound: no plan whose residency stays fixed, and that fetches nothing ahead of its gate
but for the prompt, is faster.

The proof is in docs/explanation/bounds.md. Kinds of plan are bounded apart, and the least is the
bound: those that stream no layer; those that stream only layers without experts, or the head; those
that stream a layer with experts, both ahead of a layer's window or within it, and they pay the
buffer; those that stream no layer, but copy single experts of the prompt ahead of their gates.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.bounds.bound import Bound, seconds_below
from planner.bounds.clairvoyant import clairvoyant_bound
from planner.bounds.dual import Multipliers, StaticDual
from planner.bounds.frontier import frontiers
from planner.bounds.lanes import lanes_bound
from planner.bounds.part import Part
from planner.bounds.stores import LOOSEST, Stores, stores_of
from planner.bounds.work import Floats, Work, work_of
from sim.costs.memory import MemoryRule
from sim.policies.problem import Problem
from sim.workload.batch import Passes

LINK_SHARES = (0.0, 0.02, 0.04, 0.07, 0.1, 0.15, 0.22, 0.35, 0.5, 0.7, 0.9, 0.98)
"""Weights of the link's total against the layers' times that are tried for plans that stream; each
gives a valid bound.
"""

_SAME = tuple((share, share) for share in LINK_SHARES)
_PROMPT = tuple((share, 0.0) for share in LINK_SHARES)

COARSE, FINE = (0.1, 0.02, 0.004), (0.02, 0.004)
"""Rounding of the dual's corners, from scratch and from a good start."""

RESOURCES = ("gpu", "cpu", "h2d", "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """What a kind of plan copies besides missing experts behind their gates: the head and layers
    without experts, or those with them too.

    Where it ``is_early``, no layer at all, but single experts ahead of their gates, for the prompt
    alone. ``link_shares`` are the weights of the link's total in prefill and in decode. Plans that
    do not copy ``ahead`` of a layer's window need less of a buffer, and no weight: their copies are
    part of the window.
    """

    has_experts: bool
    is_ahead: bool
    link_shares: tuple[float, float] = (0.0, 0.0)
    is_early: bool = False

    def buffer_bytes(self, stores: Stores) -> float:
        """The least that this kind of plan keeps free for what it streams."""
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxed:
    """A phase's best bound in ns with its proof: the multipliers, and the relaxed problem they
    belong to, with the pass of each cell.
    """

    ns: float
    dual: StaticDual
    multipliers: Multipliers
    cell_pass: NDArray[np.int64]
    streaming: Streaming | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticRelaxation:
    """The least bound over all kinds of plan: of the whole run, of the time to the first token, and
    of the time from there.
    """

    work: Work
    stores: Stores
    whole: Relaxed
    first: Relaxed
    rest: Relaxed


def static_bound(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], rule: MemoryRule = LOOSEST
) -> Bound:
    """The bound over those passes with those tokens per expert [pass, layer, expert], for plans
    within that memory rule.

    A fixed plan is one of those that the clairvoyant bound covers, so the better of the two counts,
    for each time apart.
    """
    if problem.feeding.is_pipelined:
        return lanes_bound(problem, passes, tokens)
    found = relax(problem, passes, tokens, rule)
    wider = clairvoyant_bound(problem, passes, tokens, rule)
    first = max(seconds_below(found.first.ns), wider.ttft_s)
    rest = max(seconds_below(found.rest.ns), wider.decode_s)
    return Bound(
        end_to_end_s=max(seconds_below(found.whole.ns), first + rest, wider.end_to_end_s),
        ttft_s=first,
        decode_s=rest,
        binding_resource=binding_resource(found),
        method="static: Lagrangian dual over fixed residency"
        + ("" if found.whole.streaming is None else ", layers streamed"),
    )


def relax(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], rule: MemoryRule = LOOSEST
) -> StaticRelaxation:
    """The relaxed problems with their best multipliers."""
    work = work_of(problem, passes, tokens)
    stores = stores_of(problem, rule)
    everything = np.ones(len(work.is_prefill), bool)
    first, rest = (
        _from_scratch(work, stores, which) for which in (work.is_prefill, ~work.is_prefill)
    )
    whole = _solved(
        relaxation(work, stores, everything, None),
        _joined(first, rest),
        _cell_passes(work, everything),
    )
    kinds = [(whole, first, rest)]
    for kind in KINDS:
        if kind.buffer_bytes(stores) <= stores.capacity_bytes:
            shares = _SAME if kind.is_ahead else _PROMPT if kind.is_early else ((0.0, 0.0),)
            early = _streamed(work, stores, work.is_prefill, first, kind, shares)
            late = _streamed(work, stores, ~work.is_prefill, rest, kind, shares)
            joint = ((_shares(early)[0], _shares(late)[1]), *shares)
            kinds.append((_streamed(work, stores, everything, whole, kind, joint), early, late))
    best = [min(part, key=lambda found: found.ns) for part in zip(*kinds, strict=True)]
    return StaticRelaxation(work=work, stores=stores, whole=best[0], first=best[1], rest=best[2])


def _shares(found: Relaxed) -> tuple[float, float]:
    return (0.0, 0.0) if found.streaming is None else found.streaming.link_shares


def _joined(first: Relaxed, rest: Relaxed) -> Multipliers:
    """Multipliers of both parts for the whole: prefill comes first, and each byte serves both."""
    slopes = np.append(first.multipliers.slope, rest.multipliers.slope)
    return Multipliers(
        slope=slopes, byte_price=first.multipliers.byte_price + rest.multipliers.byte_price
    )


def _from_scratch(work: Work, stores: Stores, passes: NDArray[np.bool_]) -> Relaxed:
    dual = relaxation(work, stores, passes, None)
    ns, multipliers = dual.solve(stages=COARSE)
    return Relaxed(ns=ns, dual=dual, multipliers=multipliers, cell_pass=_cell_passes(work, passes))


def _solved(
    dual: StaticDual,
    start: Multipliers,
    cell_pass: NDArray[np.int64],
    streaming: Streaming | None = None,
) -> Relaxed:
    ns, multipliers = dual.solve(start, stages=FINE)
    return Relaxed(
        ns=ns, dual=dual, multipliers=multipliers, cell_pass=cell_pass, streaming=streaming
    )


def _cell_passes(work: Work, passes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The pass of each cell of experts in the marked passes."""
    found = work.experts.cell_of // work.num_layers
    return found[passes[found]]


def _streamed(
    work: Work,
    stores: Stores,
    passes: NDArray[np.bool_],
    rival: Relaxed,
    kind: Streaming,
    shares: Iterable[tuple[float, float]],
) -> Relaxed:
    """The bound for plans that stream, over the marked passes: the best weights of the link, then
    the best multipliers.

    Ends early where a bound exceeds the rival's: the rival is the least of them then, whatever this
    one could still gain.
    """
    best = None
    last = -np.inf
    for pair in shares:
        streaming = replace(kind, link_shares=pair)
        dual = relaxation(work, stores, passes, streaming)
        share = link_share_of(work, streaming)[rival.cell_pass]
        mean = float(share.mean()) if len(share) else 0.0
        slope = rival.multipliers.slope * (1 - share)
        if (
            streaming.is_early
        ):  # a missing expert of the prompt costs no more than its copy's weight
            slope = np.where(
                work.is_prefill[rival.cell_pass],
                np.minimum(slope, share * work.fetch[dual.layer]),
                slope,
            )
        start = Multipliers(slope=slope, byte_price=rival.multipliers.byte_price * (1 - mean))
        found = Relaxed(
            ns=dual.value_ns(start),
            dual=dual,
            multipliers=start,
            streaming=streaming,
            cell_pass=rival.cell_pass,
        )
        if found.ns >= rival.ns:
            return found
        if best is None or found.ns > best.ns:
            best = found
        if found.ns < last:
            break  # the best multipliers' value is concave in the weight: it rises, then falls
        last = found.ns if pair[0] == pair[1] else -np.inf
    assert best is not None
    solved = _solved(best.dual, best.multipliers, best.cell_pass, best.streaming)
    if (
        kind.is_early and solved.ns < rival.ns
    ):  # its multipliers may be far from the rival's, above all where copies weigh nothing
        for other in (
            best,
            replace(best, dual=relaxation(work, stores, passes, kind), streaming=kind),
        ):
            ns, multipliers = other.dual.solve(stages=COARSE)
            if ns > solved.ns:
                solved = replace(other, ns=ns, multipliers=multipliers)
    return solved


def relaxation(
    work: Work, stores: Stores, passes: NDArray[np.bool_], streaming: Streaming | None
) -> StaticDual:
    """The problem over the marked passes as its dual sees it."""
    share = link_share_of(work, streaming)
    on, off = layer_times(work, share, streaming)
    head_on, head_off = head_times(work, share, streaming)
    part = Part(work=work, marked=passes)
    layers = work.num_layers
    weighed = part.weighed(share, is_prompt_early=streaming is not None and streaming.is_early)
    cap = (off - on).ravel()[
        part.cell_of
    ]  # however a resident layer is run, a cell takes no more than one that is not resident
    room = stores.capacity_bytes - (0.0 if streaming is None else streaming.buffer_bytes(stores))
    ahead = ahead_share(work, share, passes) * stores.ns_per_byte(work)
    return StaticDual(
        frontiers=frontiers(weighed._replace(cap=cap)),
        layer=part.layer,
        cell=part.cell_of_triple,
        item=part.cells.item,
        item_bytes=np.repeat(stores.expert_bytes, stores.num_experts),
        item_layer=np.repeat(np.arange(layers), stores.num_experts),
        on_ns=np.append(on[passes].sum(axis=0), head_on[passes].sum()),
        off_ns=np.append(off[passes].sum(axis=0), head_off[passes].sum()),
        dense_bytes=np.append(stores.dense_bytes, stores.head_bytes),
        rest_ns=float(((1 - share) * work.step_overhead)[passes].sum())
        - ahead * (stores.memory_bytes - room),
        capacity_bytes=room,
        ahead_price=ahead,
    )


def ahead_share(work: Work, share: Floats, passes: NDArray[np.bool_]) -> float:
    """The weight lost on copies that decode may have had made before it began: in prefill, if that
    counts, they take the link as well.
    """
    in_decode = float((share * ~work.is_prefill)[passes].max(initial=0))
    in_prefill = float(share[work.is_prefill & passes].min(initial=np.inf))
    return max(0.0, in_decode - (in_prefill if np.isfinite(in_prefill) else 0.0))


def link_share_of(work: Work, streaming: Streaming | None) -> Floats:
    """[pass]: the weight of the link's total."""
    shares = (0.0, 0.0) if streaming is None else streaming.link_shares
    return np.where(work.is_prefill, *shares)


def layer_times(work: Work, share: Floats, streaming: Streaming | None) -> tuple[Floats, Floats]:
    """[pass, layer]: the part of a resident layer that does not depend on its experts, and all of a
    layer that is not resident.
    """
    is_moe = np.zeros(work.serial_gpu.shape, bool)
    is_moe.ravel()[work.experts.cell_of] = True
    link = share[:, None]
    time = 1 - share[:, None]
    off = time * work.whole_cpu
    if streaming is not None and not streaming.is_early:
        link = link if streaming.is_ahead else time
        whole = time * (work.serial_gpu + work.ffn_gpu + work.experts_gpu) + link * work.layer_fetch
        off = np.where(is_moe & (not streaming.has_experts), off, np.minimum(off, whole))
    on = time * np.where(is_moe, work.serial_gpu, work.serial_gpu + work.ffn_gpu)
    return np.minimum(on, off), off


def head_times(work: Work, share: Floats, streaming: Streaming | None) -> tuple[Floats, Floats]:
    """[pass]: the head where it is resident, and where it is not."""
    off = (1 - share) * work.head_cpu
    if streaming is not None and not streaming.is_early:
        link = share if streaming.is_ahead else 1 - share
        off = np.minimum(
            off, (1 - share) * work.head_gpu + link * work.head_fetch * (work.head_gpu > 0)
        )
    return np.minimum((1 - share) * work.head_gpu, off), off


def binding_resource(found: StaticRelaxation) -> str:
    """The resource that sets the pace for the longest part of the relaxed optimum."""
    work = found.work
    dual = found.whole.dual
    kept, dense = dual.residency(found.whole.multipliers, 1e-3)
    held = dense[dual.layer]
    missing = dual.total_weight - np.divide(
        dual.weights_by_cell @ kept, held, out=np.zeros(len(held)), where=held > 0
    )
    far = np.abs(dual.frontiers.missing - missing[dual.vertex_cell])
    order = np.lexsort((far, dual.vertex_cell))
    nearest = order[dual.frontiers.offsets[:-1]]
    busy = np.bincount(
        dual.frontiers.lane[nearest], dual.frontiers.ns[nearest] * held, minlength=len(RESOURCES)
    )
    host = work.layer_overhead * work.serial_gpu.size + work.step_overhead * len(work.serial_gpu)
    busy[0] += float(dual.on_ns @ dense) - work.layer_overhead * work.serial_gpu.size
    busy[1] += float(dual.off_ns @ (1 - dense))
    busy[3] += host
    return RESOURCES[int(busy.argmax())]
