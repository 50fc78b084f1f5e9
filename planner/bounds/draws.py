"""Bounds on the mean over several draws of the routing: one fixed placement has to serve them all, so it can know none of them well.

A bound for a single draw compares a plan with the placement that suits the very tokens to come. The more draws one placement must serve,
the less such knowledge is worth. Both bounds hold for the mean over exactly these draws; docs/explanation/bounds.md has the proof.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hwprofiles.units import NS_PER_S
from planner.bounds.bound import seconds_below
from planner.bounds.clairvoyant import Guess, repeated_bound
from planner.bounds.frontier import frontiers
from planner.bounds.lanes import lanes_bound
from planner.bounds.lines import Cells, Lines, lines, relaxed_layers
from planner.bounds.static import KINDS, Streaming, ahead_share, cell_work, head_times, layer_times, link_share_of
from planner.bounds.stores import LOOSEST, Stores, stores_of
from planner.bounds.work import Floats, Work, work_of
from sim.memory import MemoryRule
from sim.policies.problem import Problem
from sim.simulate import Drawn

NEVER_NS = 1e30
NUM_PRICES, NUM_REFINEMENTS = 16, 10
NUM_THREADS = 2
LINK_WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)
"""Weights of the link's total against the layers' times that are tried for plans that copy layers ahead."""
PRICE_PARTS = (1.0, 0.95, 0.9, 0.8, 0.6, 0.3)
"""Prices of a byte that are tried with each of them, as parts of the price for plans that copy nothing ahead."""

Kind = Streaming | None
WITHIN: tuple[Kind, ...] = (None, *(kind for kind in KINDS if not kind.is_ahead))
"""Kinds of plan whose copies all lie within their layer's window: they share their frontiers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """The relaxed problem of some kinds of plan, summed over runs: lines, and [kind, layer] times with and without what is resident.

    [kind]: the head's times, ``rest`` that is spent in any case, and what a byte without weights saves, which decode may have filled ahead.
    """

    lines: Lines
    on: Floats
    off: Floats
    head_on: Floats
    head_off: Floats
    rest: Floats
    ahead: Floats

    def __add__(self, other: "Sums") -> "Sums":
        """The sums over both."""
        return Sums(
            lines=self.lines + other.lines,
            on=self.on + other.on,
            off=self.off + other.off,
            head_on=self.head_on + other.head_on,
            head_off=self.head_off + other.head_off,
            rest=self.rest + other.rest,
            ahead=self.ahead + other.ahead,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxation:
    """The least bound over all kinds of plan, in ns over all draws, and the price of a byte that proves it."""

    ns: float
    byte_price: float
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanBounds:
    """No plan of either class has a shorter mean over these draws. ``byte_price_s``: seconds a byte more of GPU memory would save.

    ``kind`` is what those plans stream that the static bound is least for.
    """

    static_s: float
    clairvoyant_s: float
    byte_price_s: float
    num_draws: int
    kind: Kind = None


def mean_bounds(problem: Problem, draws: Sequence[Drawn], rule: MemoryRule = LOOSEST) -> MeanBounds:
    """Both bounds; the static one for plans within that memory rule, the clairvoyant one for all that fit the card."""
    if problem.feeding.is_pipelined:
        least_s = sum(lanes_bound(problem, drawn.passes, drawn.tokens).end_to_end_s for drawn in draws) / len(draws)
        return MeanBounds(static_s=least_s, clairvoyant_s=least_s, byte_price_s=0.0, num_draws=len(draws))
    works = works_of(problem, draws)
    static = relaxed_draws(works, stores_of(problem, rule))
    clairvoyant_ns = _clairvoyant_ns(works, stores_of(problem, LOOSEST))
    number = len(draws)
    return MeanBounds(
        static_s=seconds_below(max(static.ns, clairvoyant_ns) / number),
        clairvoyant_s=seconds_below(clairvoyant_ns / number),
        byte_price_s=static.byte_price / number / NS_PER_S,
        num_draws=number,
        kind=static.kind,
    )


def works_of(problem: Problem, draws: Sequence[Drawn]) -> list[Work]:
    """The work of each draw."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return list(threads.map(lambda drawn: work_of(problem, drawn.passes, drawn.tokens), draws))


def relaxed_draws(works: Sequence[Work], stores: Stores) -> Relaxation:
    """The best bound found for each kind of plan, and of those the least."""
    within = [kind for kind in WITHIN if kind is None or kind.buffer_bytes(stores) <= stores.capacity_bytes]
    best = _solved(summed(works, stores, within), stores, within, None)
    for kind in KINDS:
        if kind.is_ahead and kind.buffer_bytes(stores) <= stores.capacity_bytes:
            weighed: list[Kind] = [_weighed(works[0], stores, kind, best.byte_price / len(works))]
            best = _solved(summed(works, stores, weighed), stores, weighed, best)
    return best


def value_ns(sums: Sums, stores: Stores, kinds: Sequence[Kind], number: int, byte_price: float) -> float:
    """What that price of a byte proves for plans of that kind."""
    room, num_layers = room_bytes(stores, kinds[number]), len(stores.dense_bytes)
    chosen = np.zeros((num_layers, 2), np.int64)
    layers = relaxed_layers(
        sums.lines.height[number],
        sums.lines.gain,
        sums.on[number],
        sums.off[number],
        stores.dense_bytes,
        stores.expert_bytes,
        byte_price,
        chosen,
    )
    head = min(sums.head_on[number] + byte_price * stores.head_bytes, sums.head_off[number])
    ahead = sums.ahead[number]
    return float(layers + head + sums.rest[number] - ahead * (stores.memory_bytes - room) - max(byte_price, ahead) * room)


def room_bytes(stores: Stores, kind: Kind) -> float:
    """What is left for what stays, beside the kind's buffer."""
    return stores.capacity_bytes - (0.0 if kind is None else kind.buffer_bytes(stores))


def summed(works: Sequence[Work], stores: Stores, kinds: Sequence[Kind]) -> Sums:
    """The sums over several draws."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        total, *others = threads.map(lambda work: sums_of(work, stores, kinds), works)
    for other in others:
        total += other
    return total


def sums_of(work: Work, stores: Stores, kinds: Sequence[Kind]) -> Sums:
    """One draw's part. The kinds have the link's weight in common, so they share the frontiers, and differ in what a cell takes at most."""
    experts, num_layers = work.experts, work.num_layers
    share = link_share_of(work, kinds[0])
    times = [layer_times(work, share, kind) for kind in kinds]
    heads = [head_times(work, share, kind) for kind in kinds]
    everything = np.ones(len(experts.cell_of), bool), np.ones(len(experts.cell), bool)
    uncapped = np.full(len(experts.cell_of), NEVER_NS)
    index, layer = np.divmod(experts.cell_of, num_layers)
    cells = Cells(layer=layer, phase=(~work.is_prefill[index]).astype(np.int64), offsets=experts.offsets, item=experts.item)
    caps = np.stack([(off - on).ravel()[experts.cell_of] for on, off in times])
    found = frontiers(cell_work(work, *everything, uncapped, share))
    return Sums(
        lines=lines(found, cells, caps, num_layers, num_layers * stores.num_experts),
        on=np.stack([on.sum(axis=0) for on, _ in times]),
        off=np.stack([off.sum(axis=0) for _, off in times]),
        head_on=np.array([on.sum() for on, _ in heads]),
        head_off=np.array([off.sum() for _, off in heads]),
        rest=np.full(len(kinds), float(((1 - share) * work.step_overhead).sum())),
        ahead=np.full(len(kinds), ahead_share(work, share, np.ones(len(share), bool)) * stores.ns_per_byte(work)),
    )


def _solved(sums: Sums, stores: Stores, kinds: Sequence[Kind], rival: Relaxation | None) -> Relaxation:
    """The least of the kinds' best bounds, or the rival's. A kind that is above the least so far at its price is left as it is."""
    best = rival
    for number, kind in enumerate(kinds):
        if best is not None and value_ns(sums, stores, kinds, number, best.byte_price) >= best.ns:
            continue
        ns, price = _best_price(sums, stores, kinds, number)
        if best is None or ns < best.ns:
            best = Relaxation(ns=ns, byte_price=price, kind=kind)
    assert best is not None
    return best


def _best_price(sums: Sums, stores: Stores, kinds: Sequence[Kind], number: int) -> tuple[float, float]:
    """The price of a byte with the highest bound, and that bound: along the gains a byte brings, then between the best one's neighbours."""
    gains = sums.lines.gain.max(axis=1).sum(axis=0).reshape(len(stores.expert_bytes), -1)
    rates = np.sort((gains / np.maximum(stores.expert_bytes, 1)[:, None])[gains > 0])
    prices = np.append(0.0, np.quantile(rates, np.linspace(0, 1, NUM_PRICES)) if len(rates) else [])
    values = {float(price): value_ns(sums, stores, kinds, number, float(price)) for price in prices}
    for _ in range(NUM_REFINEMENTS):
        order = sorted(values)
        place = max(range(len(order)), key=lambda spot: values[order[spot]])
        around = order[max(0, place - 1) : place + 2]
        for left, right in pairwise(around):
            values[(left + right) / 2] = value_ns(sums, stores, kinds, number, (left + right) / 2)
    price = max(values, key=lambda tried: values[tried])
    return values[price], price


def _weighed(work: Work, stores: Stores, kind: Streaming, byte_price: float) -> Streaming:
    """The kind with the weights of the link's total, in prefill and in decode, that bound one draw best."""

    def bound(shares: tuple[float, float]) -> float:
        weighed = [replace(kind, link_shares=shares)]
        sums = sums_of(work, stores, weighed)
        return max(value_ns(sums, stores, weighed, 0, byte_price * part) for part in PRICE_PARTS)

    best = max(((share, share) for share in LINK_WEIGHTS), key=bound)
    for phase in (1, 0):
        tried = [(share, best[1]) if phase == 0 else (best[0], share) for share in LINK_WEIGHTS]
        best = max([best, *tried], key=bound)
    return replace(kind, link_shares=best)


def _clairvoyant_ns(works: Sequence[Work], stores: Stores) -> float:
    """The sum of the draws' bounds, each a proof of its own; the first draw's multipliers serve all."""
    first = repeated_bound(works[0], stores, None)
    guess: Guess = first[1]
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return first[0] + sum(threads.map(lambda work: repeated_bound(work, stores, guess)[0], works[1:]))
