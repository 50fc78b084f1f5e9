"""Bounds on the mean over several draws of the routing: one fixed placement has to serve them all,
so it can know none of them well.

A bound for a single draw compares a plan with the placement that suits the very tokens to come. The
more draws one placement must serve, the less such knowledge is worth. Both bounds hold for the mean
over exactly these draws; docs/explanation/bounds.md has the proof.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np

from hwprofiles.units import NS_PER_S
from planner.bounds.alike import count_times
from planner.bounds.clairvoyant import Guess, repeated_bound
from planner.bounds.frontier import frontiers
from planner.bounds.lanes import lanes_bound_ns
from planner.bounds.lines import lines
from planner.bounds.part import MarkedPasses
from planner.bounds.rounding import seconds_below
from planner.bounds.static import (
    KINDS,
    STREAMING,
    Streaming,
    ahead_share,
    head_times,
    layer_times,
    link_share_of,
)
from planner.bounds.stores import LOOSEST, Stores, stores_of
from planner.bounds.sums import Sums
from planner.bounds.work import Work, work_of
from planner.search.threads import NUM_THREADS
from sim.costs.memory import MemoryRule
from sim.policies.problem import Problem
from sim.step.simulate import Drawn

NUM_PRICES = 16
NUM_REFINEMENTS = 10
LINK_WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)
"""Weights of the link's total against the layers' times that are tried for plans that copy layers
ahead.
"""
WEIGHT_FACTORS = ((3.0, 1 / 3), (1.5, 1 / 1.5), (1.15, 1 / 1.15))
MOST_WEIGHT = 0.98
"""By what either weight is then multiplied while that bounds better: coarsely first."""
PRICE_PARTS = (1.0, 0.95, 0.9, 0.8, 0.6, 0.3)
"""Prices of a byte that are tried with each of them, as parts of the price for plans that copy
nothing ahead.
"""

Kind = Streaming | None
WITHIN: tuple[Kind, ...] = (None, *(kind for kind in STREAMING if not kind.is_ahead))
"""Kinds of plan whose copies all lie within their layer's window: they share their frontiers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxation:
    """The least bound over all kinds of plan, in ns over all draws, and the price of a byte that
    proves it.
    """

    ns: float
    byte_price: float
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanBounds:
    """No plan of either class has a shorter mean over these draws. ``byte_price_s``: seconds a byte
    more of GPU memory would save.

    ``kind`` is what those plans stream that the static bound is least for. Where experts
    ``are_alike``, the static bound is of the mean over these draws with each layer's experts
    renamed in every way.
    """

    static_s: float
    clairvoyant_s: float
    byte_price_s: float
    num_draws: int
    kind: Kind = None
    are_alike: bool = False


def mean_bounds(
    problem: Problem, draws: Sequence[Drawn], rule: MemoryRule = LOOSEST, *, are_alike: bool = False
) -> MeanBounds:
    """Both bounds; the static one for plans within that memory rule, the clairvoyant one for all
    that fit the card.

    ``are_alike``: the routing treats the experts of a layer alike
    (``Routing.treats_experts_alike``), so the static bound may average over their names instead of
    holding for these very draws.
    """
    if problem.feeding.is_pipelined:
        least_s = sum(
            seconds_below(lanes_bound_ns(problem, drawn.passes, drawn.tokens)) for drawn in draws
        ) / len(draws)
        return MeanBounds(
            static_s=least_s, clairvoyant_s=least_s, byte_price_s=0.0, num_draws=len(draws)
        )
    works = works_of(problem, draws)
    with ThreadPoolExecutor(1) as threads:  # each search goes step by step: they run side by side
        first = threads.submit(repeated_bound, works[0], stores_of(problem, LOOSEST), None)
        static = relaxed_draws(wholes_of(works), stores_of(problem, rule), are_alike=are_alike)
        clairvoyant_ns = _clairvoyant_ns(works, stores_of(problem, LOOSEST), *first.result())
    number = len(draws)
    return MeanBounds(
        # A fixed plan is one of those that the clairvoyant bound covers, too.
        static_s=seconds_below(max(static.ns, clairvoyant_ns) / number),
        clairvoyant_s=seconds_below(clairvoyant_ns / number),
        byte_price_s=static.byte_price / number / NS_PER_S,
        num_draws=number,
        kind=static.kind,
        are_alike=are_alike,
    )


def works_of(problem: Problem, draws: Sequence[Drawn]) -> list[Work]:
    """The work of each draw."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return list(
            threads.map(
                lambda drawn: work_of(problem, drawn.passes, drawn.tokens, drawn.selected), draws
            )
        )


def wholes_of(works: Sequence[Work]) -> list[MarkedPasses]:
    """All passes of each run."""
    return [MarkedPasses(work=work, marked=np.ones(len(work.is_prefill), bool)) for work in works]


def relaxed_draws(wholes: Sequence[MarkedPasses], stores: Stores, *, are_alike: bool) -> Relaxation:
    """The best bound found for each kind of plan, and of those the least."""
    work = wholes[0].work
    phases = [
        MarkedPasses(work=work, marked=which)
        for which in (work.is_prefill, ~work.is_prefill)
        if which.any()
    ]
    within = [
        kind
        for kind in WITHIN
        if kind is None or kind.buffer_bytes(stores) <= stores.capacity_bytes
    ]
    best = _solved(summed(wholes, stores, within, are_alike=are_alike), stores, within, None)
    for kind in KINDS:
        if (kind.is_ahead or kind.is_early) and kind.buffer_bytes(stores) <= stores.capacity_bytes:
            # Weights are sought on one draw, so the rival has to be of one draw.
            rival = replace(
                best, ns=best.ns / len(wholes), byte_price=best.byte_price / len(wholes)
            )
            weighed: list[Kind] = [_weighed(phases, stores, kind, rival, are_alike=are_alike)]
            best = _solved(
                summed(wholes, stores, weighed, are_alike=are_alike), stores, weighed, best
            )
    return best


def value_ns(
    sums: Sums, stores: Stores, kinds: Sequence[Kind], number: int, byte_price: float
) -> float:
    """What that price of a byte proves for plans of that kind."""
    room = room_bytes(stores, kinds[number])
    on = sums.on[number]
    off = sums.off[number]
    layers = sums.experts.layers_ns(
        number, on, off, stores.dense_bytes, stores.expert_bytes, byte_price
    )
    head = min(sums.head_on[number] + byte_price * stores.head_bytes, sums.head_off[number])
    # Where a byte that holds no weights saves more by being filled ahead, that is what the byte
    # costs.
    ahead = sums.ahead[number]
    return float(
        layers
        + head
        + sums.rest[number]
        - ahead * (stores.memory_bytes - room)
        - max(byte_price, ahead) * room
    )


def room_bytes(stores: Stores, kind: Kind) -> float:
    """What is left for what stays, beside the kind's buffer."""
    return stores.capacity_bytes - (0.0 if kind is None else kind.buffer_bytes(stores))


def summed(
    wholes: Sequence[MarkedPasses], stores: Stores, kinds: Sequence[Kind], *, are_alike: bool
) -> Sums:
    """The sums over several draws."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        total, *others = threads.map(
            lambda whole: sums_of(whole, stores, kinds, are_alike=are_alike), wholes
        )
    for other in others:
        total += other
    return total


def sums_of(part: MarkedPasses, stores: Stores, kinds: Sequence[Kind], *, are_alike: bool) -> Sums:
    """One draw's part, or that of some of its passes.

    The kinds have the link's weight in common, so they share the frontiers, and differ in what a
    cell takes at most.
    """
    work = part.work
    marked = part.marked
    num_layers = part.work.num_layers
    share = link_share_of(work, kinds[0])
    times = [layer_times(work, share, kind) for kind in kinds]
    heads = [head_times(work, share, kind) for kind in kinds]
    caps = np.stack([(off - on).ravel()[part.cell_of] for on, off in times])
    inside = part.weighed(share, is_prompt_early=kinds[0] is not None and kinds[0].is_early)
    return Sums(
        experts=count_times(inside, part.tables, part.sizes, caps, stores.num_experts)
        if are_alike
        else lines(
            frontiers(inside), part.cells, caps, num_layers, num_layers * stores.num_experts
        ),
        on=np.stack([on[marked].sum(axis=0) for on, _ in times]),
        off=np.stack([off[marked].sum(axis=0) for _, off in times]),
        head_on=np.array([on[marked].sum() for on, _ in heads]),
        head_off=np.array([off[marked].sum() for _, off in heads]),
        rest=np.full(len(kinds), float(((1 - share) * work.step_overhead)[marked].sum())),
        ahead=np.full(len(kinds), ahead_share(work, share, marked) * stores.ns_per_byte(work)),
    )


def _solved(
    sums: Sums, stores: Stores, kinds: Sequence[Kind], rival: Relaxation | None
) -> Relaxation:
    """The least of the kinds' best bounds, or the rival's.

    A kind that is above the least so far at its price is left as it is.
    """
    best = rival
    for number, kind in enumerate(kinds):
        # The best price would only lift it further above the least.
        if best is not None and value_ns(sums, stores, kinds, number, best.byte_price) >= best.ns:
            continue
        ns, price = _best_price(sums, stores, kinds, number)
        if best is None or ns < best.ns:
            best = Relaxation(ns=ns, byte_price=price, kind=kind)
    assert best is not None
    return best


def _best_price(
    sums: Sums, stores: Stores, kinds: Sequence[Kind], number: int
) -> tuple[float, float]:
    """The price of a byte with the highest bound, and that bound: along the gains a byte brings,
    then between the best one's neighbours.
    """
    rates = sums.experts.savings_per_byte(stores.expert_bytes)
    prices = np.append(0.0, np.quantile(rates, np.linspace(0, 1, NUM_PRICES)) if len(rates) else [])
    values = {float(price): value_ns(sums, stores, kinds, number, float(price)) for price in prices}
    for _ in range(NUM_REFINEMENTS):
        order = sorted(values)
        place = max(range(len(order)), key=lambda spot: values[order[spot]])
        # The value is concave in the price: its top lies next to the best price so far.
        around = order[max(0, place - 1) : place + 2]
        for left, right in pairwise(around):
            values[(left + right) / 2] = value_ns(sums, stores, kinds, number, (left + right) / 2)
    price = max(values, key=lambda tried: values[tried])
    return values[price], price


def _weighed(
    phases: Sequence[MarkedPasses],
    stores: Stores,
    kind: Streaming,
    rival: Relaxation,
    *,
    are_alike: bool,
) -> Streaming:
    """The kind with the weights of the link's total, in prefill and in decode, that bound one draw
    best; ``rival`` is of that draw.

    Any weights are valid. The best value is concave in them, so one after the other is moved, by
    ever less, while that helps. It ends where the rival is exceeded: that one is the least then,
    whatever could still be gained.
    """
    found: dict[tuple[float, float], float] = {}
    parts: dict[tuple[int, float], Sums] = {}
    work = phases[0].work

    def part(phase: int, share: float) -> Sums:
        """Of prefill or decode alone, which a move of the other's weight leaves as it is."""
        if (phase, share) not in parts:
            weighed = [replace(kind, link_shares=(share, share))]
            parts[phase, share] = sums_of(phases[phase], stores, weighed, are_alike=are_alike)
        return parts[phase, share]

    def bound(shares: tuple[float, float]) -> float:
        """The bound in ns with those shares of the link, computed once each."""
        if shares not in found:
            weighed = [replace(kind, link_shares=shares)]
            sums = (
                part(0, shares[0]) if len(phases) == 1 else part(0, shares[0]) + part(1, shares[1])
            )
            lost = ahead_share(
                work, link_share_of(work, weighed[0]), np.ones(len(work.is_prefill), bool)
            )
            sums = replace(sums, ahead=np.array([lost * stores.ns_per_byte(work)]))
            found[shares] = max(
                value_ns(sums, stores, weighed, 0, rival.byte_price * lower)
                for lower in PRICE_PARTS
            )
        return found[shares]

    moved = (0,) if kind.is_early else (1, 0)
    best = max(((share, 0.0 if kind.is_early else share) for share in LINK_WEIGHTS), key=bound)
    for factors in WEIGHT_FACTORS:
        is_moved = True
        while is_moved and bound(best) < rival.ns:
            is_moved = False
            for phase, factor in product(moved, factors):
                share = min(best[phase] * factor, MOST_WEIGHT)
                tried = (share, best[1]) if phase == 0 else (best[0], share)
                if bound(tried) > bound(best):
                    best = tried
                    is_moved = True
    return replace(kind, link_shares=best)


def _clairvoyant_ns(works: Sequence[Work], stores: Stores, first_ns: float, guess: Guess) -> float:
    """The sum of the draws' bounds, each a proof of its own; the first draw's multipliers serve
    all.
    """
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return first_ns + sum(
            threads.map(lambda work: repeated_bound(work, stores, guess)[0], works[1:])
        )
