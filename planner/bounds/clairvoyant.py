"""The clairvoyant bound: no lossless policy is faster, even one that knows all future selections.

A run takes at least the sum of its layers' windows, and at least the sum of its copies; so it takes
at least any weighted mean of the two. Each byte that the GPU holds at a border between passes has a
price, in place of the limit of its memory. Every expert then takes its cheapest way through the run
by itself: held, copied anew, or run on the CPU. The proof is in docs/explanation/bounds.md.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.bounds.compilation import bound_kernel
from planner.bounds.frontier import Frontiers, frontiers
from planner.bounds.part import MarkedPasses
from planner.bounds.simplex import lowest
from planner.bounds.stores import Stores
from planner.bounds.work import Floats, Work

LINK_STARTS, PRICE_STARTS = (0.05, 0.2, 0.5, 0.9, 0.99), (0.1, 0.4, 0.8, 1.2)
"""First guesses of the weight of the link's total, and of the price of a byte.

The price is a multiple of what the last byte that fits would save.
"""

NEVER_NS = 1e30
"""A copy's time, in ns, that is longer than any run: within a window, such a copy never pays."""

NUM_TRIALS = 120
"""Points that the search evaluates from the best first guess on; each of them proves a valid bound.
"""


class Multipliers(NamedTuple):
    """The numbers that prove a bound.

    ``link_share`` is the weight of the link's total, in [0, 1]. ``byte_price`` is in ns per byte
    and border between passes. ``steepness`` is the slope at each frontier, as a share of its
    steepest slope.
    """

    link_share: float = 0.0
    byte_price: float = 0.0
    steepness: float = 0.0


Guess = tuple[Multipliers, ...]
"""Multipliers for the whole run, or one set for prefill and one for decode."""


class Uses(NamedTuple):
    """Uses of the items that may be on the GPU: experts, dense parts of layers, the head.

    Uses are ordered by item, then by pass; ``starts`` [item + 1] bounds those of each item.
    ``pass_of`` [use] counts passes among those that are bounded. If an expert is used elsewhere
    than on the GPU, it costs ``weight`` [use] times the slope of its ``cell`` [use]. Other items
    have no cell (-1), and cost ``cost_ns`` [use] elsewhere. ``size_bytes`` and ``copy_ns`` [item]
    are an item's size, and the time of its copy.
    """

    starts: NDArray[np.int64]
    pass_of: NDArray[np.int64]
    cell: NDArray[np.int64]
    weight: Floats
    cost_ns: Floats
    size_bytes: Floats
    copy_ns: Floats


@bound_kernel
def _relaxed(front, slope, ways, link_share, price, least):  # type: ignore[no-untyped-def]
    """Fill ``least`` [cell] with the least of ns - slope · missing over the cell's vertices.

    Return the cost in ns of all items' uses, each item on its cheapest way.
    """
    for cell in range(len(slope)):
        least[cell] = np.inf
        for vertex in range(front.offsets[cell], front.offsets[cell + 1]):
            least[cell] = min(least[cell], front.ns[vertex] - slope[cell] * front.missing[vertex])
    return _cheapest(ways, slope, link_share, price)


@bound_kernel
def _cheapest(ways, slope, link_share, price):  # type: ignore[no-untyped-def]
    """Return the sum over items of the cheapest way through all uses, in weighted ns.

    An item is held (paid by border and byte), copied anew, or served elsewhere.
    """
    total = 0.0
    time = 1 - link_share
    for item in range(len(ways.starts) - 1):
        inside = 0.0
        outside = 0.0
        before = -1
        rent = price * ways.size_bytes[item]
        copy = link_share * ways.copy_ns[item]
        for use in range(ways.starts[item], ways.starts[item + 1]):
            cell = ways.cell[use]
            cost = (slope[cell] * ways.weight[use] if cell >= 0 else ways.cost_ns[use]) * time
            held = inside + (ways.pass_of[use] - before) * rent
            absent = min(inside, outside)
            inside = min(held, absent + copy)
            outside = min(held, absent + min(copy, cost))
            before = ways.pass_of[use]
        total += min(inside, outside)
    return total


def cheapest_ns(ways: Uses, byte_price: float) -> float:
    """Return the least ns of all uses, which have no cells.

    Each item is held at ``byte_price`` ns per byte and border, or copied, or served elsewhere.
    """
    half = 0.5  # copies and other costs have the same weight, so that the sum is half of all
    return _cheapest(ways, np.zeros(1), half, byte_price * half) / half  # type: ignore[no-any-return]  # compiled


@dataclass(frozen=True, kw_only=True, eq=False)
class ClairvoyantDual:
    """The relaxed problem over some passes, of which any multipliers prove a bound.

    ``frontiers`` give each cell's least time by the weight of its experts on the CPU. ``base_ns``
    is spent in any case.
    """

    frontiers: Frontiers
    ways: Uses
    base_ns: float
    num_passes: int
    capacity_bytes: float

    @cached_property
    def steepest(self) -> Floats:
        """The steepest slope of each frontier [cell], at least 0, in ns per unit of weight."""
        cell = self.vertex_cell
        found = np.zeros(len(self.frontiers.offsets) - 1)
        inside = np.diff(cell) == 0
        np.maximum.at(
            found,
            cell[1:][inside],
            (np.diff(self.frontiers.ns)[inside] / np.diff(self.frontiers.missing)[inside]),
        )
        return found

    @cached_property
    def vertex_cell(self) -> NDArray[np.int64]:
        """The cell of each vertex [vertex]."""
        return np.repeat(
            np.arange(len(self.frontiers.offsets) - 1), np.diff(self.frontiers.offsets)
        )

    def value_ns(self, link_share: float, byte_price: float, steepness: float) -> float:
        """Return the bound in ns that these numbers prove; see Multipliers."""
        time = 1 - link_share
        slope = self.steepest * steepness
        least = np.empty(len(slope))
        rented = _relaxed(self.frontiers, slope, self.ways, link_share, byte_price, least)
        return float(
            time * (self.base_ns + least.sum())
            + rented
            - byte_price * self.capacity_bytes * self.num_passes
        )

    def solve(self) -> tuple[float, Multipliers]:
        """Return the best bound found, in ns, and the multipliers that prove it."""
        if not self.num_passes:
            return 0.0, Multipliers()
        lanes = Multipliers(), self.value_ns(*Multipliers())
        # The windows alone, which bind where little has to be copied.
        tried = [(lanes[1], 0.0, 0.0, 0.0)]
        for link in LINK_STARTS:
            scale = self.saving(link)
            tried += [
                (self.value_ns(link, price * scale, 1.0), link, price, scale)
                for price in PRICE_STARTS
            ]
        best, link, price, scale = max(tried)

        def point(at: Floats) -> Multipliers:
            """Return the multipliers at a point of the search, cut to what is valid."""
            return Multipliers(
                float(np.clip(at[0], 0, 1)),
                max(0.0, float(at[1])) * scale,
                float(np.clip(at[2], 0, 1)),
            )

        def loss(at: Floats) -> float:
            """Return the negative of the bound at a point, which the search minimises."""
            return -self.value_ns(*point(at))

        found, least = lowest(loss, _simplex(link, price), NUM_TRIALS)
        # Every point proves a bound, so the search's end counts only where it is the best.
        ends = [
            lanes,
            (Multipliers(link, price * scale, 1.0 if scale else 0.0), best),
            (point(found), -least),
        ]
        at, value = max(ends, key=lambda end: end[1])
        return value, at

    def saving(self, link_share: float) -> float:
        """Return the ns per pass that the last byte of GPU memory saves.

        The items that save most per byte are held first. At each use, a held item saves the cheaper
        of a copy and a use elsewhere, so weighted.
        """
        ways = self.ways
        cost = np.where(
            ways.cell >= 0, np.append(self.steepest, 0.0)[ways.cell] * ways.weight, ways.cost_ns
        ) * (1 - link_share)
        item = np.repeat(np.arange(len(ways.size_bytes)), np.diff(ways.starts))
        gain = np.bincount(
            item, np.minimum(cost, link_share * ways.copy_ns[item]), minlength=len(ways.size_bytes)
        )
        rate = gain / np.maximum(ways.size_bytes, 1)
        order = np.argsort(-rate)
        place = min(
            int(np.searchsorted(np.cumsum(ways.size_bytes[order]), self.capacity_bytes)),
            len(order) - 1,
        )
        return float(max(rate[order[place]], rate.mean() / 10, 1e-12)) / self.num_passes


def _simplex(link: float, price: float) -> Floats:
    return np.array(
        [
            (link, price, 1.0),
            (link + (1 - link) * 0.2, price, 0.9),
            (link, price * 1.5 + 0.05, 0.9),
            (link, price, 0.6),
        ]
    )


def repeated_bound(work: Work, stores: Stores, guess: Guess | None) -> tuple[float, Guess]:
    """Return the end-to-end bound in ns of one of many similar runs, and the multipliers that prove
    it.

    Without a guess, the best multipliers are searched for; a guess is only evaluated. A guess has
    multipliers for the whole run, or for each phase, whichever proved more where it was solved.
    """
    everything = np.ones(len(work.is_prefill), bool)
    phases = work.is_prefill, ~work.is_prefill
    if guess is not None:
        parts = (everything,) if len(guess) == 1 else phases
        duals = [_dual(work, stores, which) for which in parts]
        return sum(
            dual.value_ns(*point) if dual.num_passes else 0.0
            for dual, point in zip(duals, guess, strict=True)
        ), guess
    # Each phase may hold at its start what it likes, which loses something; but it has multipliers
    # of its own, which gains something. Which is more differs from run to run.
    whole, at = _dual(work, stores, everything).solve()
    first, rest = (_dual(work, stores, which).solve() for which in phases)
    return (
        (whole, (at,)) if whole >= first[0] + rest[0] else (first[0] + rest[0], (first[1], rest[1]))
    )


def _dual(work: Work, stores: Stores, passes: NDArray[np.bool_]) -> ClairvoyantDual:
    """Return the relaxed problem over the marked passes."""
    part = MarkedPasses(work=work, marked=passes)
    found = frontiers(
        part.unweighed._replace(fetch=np.full(len(part.cell_of), NEVER_NS))
    )  # copies count over the whole run, not in the window
    is_moe = np.zeros(work.serial_gpu.shape, bool)
    is_moe.ravel()[work.experts.cell_of] = True
    on = np.where(is_moe, work.serial_gpu, work.serial_gpu + work.ffn_gpu)
    off = np.where(
        is_moe, work.serial_cpu - work.ffn_gpu - _activations(work)[:, None], work.whole_cpu
    )
    base = (
        np.minimum(on, off)[passes].sum()
        + np.minimum(work.head_gpu, work.head_cpu)[passes].sum()
        + work.step_overhead * passes.sum()
    )
    # A dense part that the CPU runs faster stays there, and its place on the GPU saves nothing.
    dense = np.maximum(0.0, np.column_stack([off - on, work.head_cpu - work.head_gpu]))[passes]
    return ClairvoyantDual(
        frontiers=found,
        ways=_ways(part, stores, found.weight, dense),
        base_ns=float(base),
        num_passes=int(passes.sum()),
        capacity_bytes=stores.capacity_bytes,
    )


def _activations(work: Work) -> Floats:
    """Return the ns [pass] of moving all activations down and up, which a layer on the CPU is
    spared.
    """
    return (work.activations_d2h + work.activations_h2d)[work.num_tokens]


def _ways(part: MarkedPasses, stores: Stores, weight: Floats, dense: Floats) -> Uses:
    """Return the uses of experts, then of dense parts and the head, by item and pass.

    A copy costs its share of the copy of a whole layer, if that is less.
    """
    work = part.work
    cell = part.cell_of_triple
    item = part.cells.item
    num_items = work.num_layers * stores.num_experts
    num_passes, num_dense = dense.shape
    number = np.cumsum(part.marked) - 1
    order = np.argsort(
        # numpy sorts integers of at most 16 bits by their digits, in linear time.
        item.astype(np.min_scalar_type(num_items)),
        kind="stable",
    )  # by item and, as triples are ordered, by pass
    cell = cell[order]
    counts = np.append(np.bincount(item, minlength=num_items), np.full(num_dense, num_passes))
    # An expert may come with its whole layer, which pays the latency of a copy once.
    share = work.layer_fetch / np.maximum(stores.layer_bytes, 1)
    copies = np.minimum(work.fetch, share * stores.expert_bytes), share * stores.weight_bytes
    uses = num_passes * num_dense
    return Uses(
        starts=np.append(0, np.cumsum(counts)),
        pass_of=np.append(number[part.index][cell], np.tile(np.arange(num_passes), num_dense)),
        cell=np.append(cell, np.full(uses, -1)),
        weight=np.append(weight[order], np.zeros(uses)),
        cost_ns=np.append(np.zeros(len(order)), dense.T.ravel()),
        size_bytes=np.concatenate(
            [
                np.repeat(stores.expert_bytes, stores.num_experts),
                stores.dense_bytes,
                [stores.head_bytes],
            ]
        ),
        copy_ns=np.concatenate(
            [np.repeat(copies[0], stores.num_experts), copies[1], [work.head_fetch]]
        ),
    )
