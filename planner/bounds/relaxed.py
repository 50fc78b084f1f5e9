"""The static bound over several draws: the relaxed problem of each kind of plan, and the prices of
a byte that prove most.

All layers lie on one card, or each on one of several. Cards that are alike are one kind of card
with the memory of all, since their layers cost the same. Each kind of card has a price of a byte of
its own, and each layer lies on whichever kind is cheapest for it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from itertools import pairwise, product
from operator import add

import numpy as np

from planner.bounds.alike import count_times
from planner.bounds.frontier import frontiers
from planner.bounds.lines import lines
from planner.bounds.part import MarkedPasses
from planner.bounds.static import (
    KINDS,
    STREAMING,
    Streaming,
    ahead_share,
    head_times,
    layer_times,
    link_share_of,
)
from planner.bounds.stores import Stores
from planner.bounds.sums import Sums, value_ns
from planner.bounds.work import Floats, Work
from planner.search.threads import NUM_THREADS
from sim.memo import Memo

NUM_PRICES = 16
NUM_REFINEMENTS = 10
LINK_WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)
"""Weights of the link's total against the layers' times that are tried for plans that copy layers
ahead.
"""
WEIGHT_FACTORS = ((3.0, 1 / 3), (1.5, 1 / 1.5), (1.15, 1 / 1.15))
"""Factors by which either weight is multiplied while the bound rises, coarse factors first."""
MOST_WEIGHT = 0.98
MOST_WEIGHED = 1000
"""The most weights whose sums and bounds are kept during the search for the best weights."""
PRICE_PARTS = (1.0, 0.95, 0.9, 0.8, 0.6, 0.3)
"""Prices of a byte that are tried with each pair of weights, as parts of the least bound's prices
so far.
"""

Kind = Streaming | None
WITHIN: tuple[Kind, ...] = (None, *(kind for kind in STREAMING if not kind.is_ahead))
"""Kinds of plan whose copies, if any, all lie within their layer's window: they share their
frontiers.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class CardRuns:
    """The work of every draw on one kind of card, and the joint room of all cards of that kind."""

    works: Sequence[Work]
    stores: Stores

    @cached_property
    def wholes(self) -> list[MarkedPasses]:
        """All passes of each draw."""
        return [
            MarkedPasses(work=work, marked=np.ones(len(work.is_prefill), bool))
            for work in self.works
        ]

    @cached_property
    def phases(self) -> list[MarkedPasses]:
        """Prefill and decode of the first draw, apart; no decode where the run has none."""
        work = self.works[0]
        return [
            MarkedPasses(work=work, marked=which)
            for which in (work.is_prefill, ~work.is_prefill)
            if which.any()
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxation:
    """The least bound over all kinds of plan, in ns over all draws.

    ``byte_prices`` are the prices of a byte that prove it, one for each kind of card.
    """

    ns: float
    byte_prices: tuple[float, ...]
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedPlans:
    """Plans that stay as they are over some draws, on these kinds of card.

    ``are_alike``: the routing treats the experts of a layer alike.
    """

    cards: Sequence[CardRuns]
    are_alike: bool

    @property
    def num_draws(self) -> int:
        """Draws of the routing that one plan has to serve."""
        return len(self.cards[0].works)

    def relaxed(self) -> Relaxation:
        """Return the least of the best bounds that were found for the kinds of plan."""
        best = self._solved([kind for kind in WITHIN if self._fits(kind)], None)
        for kind in KINDS:
            if (kind.is_ahead or kind.is_early) and self._fits(kind):
                best = self._solved([self._weighed(kind, best)], best)
        return best

    def value_ns(self, kind: Kind, byte_prices: Sequence[float]) -> float:
        """Return the bound in ns over all draws that those prices prove for plans of that kind."""
        return value_ns(self._summed([kind]), self.stores(kind), 0, byte_prices)

    def _fits(self, kind: Kind) -> bool:
        """Whether the kind's buffer fits; no buffer is charged on several kinds of card."""
        is_charged = kind is not None and len(self.cards) == 1
        return not is_charged or self.stores(kind)[0].capacity_bytes >= 0

    def stores(self, kind: Kind) -> list[Stores]:
        """Return the stores of each kind of card, less the buffer for what this kind of plan
        streams.
        """
        stores = [card.stores for card in self.cards]
        # On several kinds of card the buffer may lie on any, so none is charged with it.
        return stores if len(stores) > 1 else [left_beside(stores[0], kind)]

    def _summed(self, kinds: Sequence[Kind]) -> list[Sums]:
        """The sums over all draws on each kind of card."""
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            return [
                reduce(add, threads.map(partial(self.sums, card, kinds), card.wholes))
                for card in self.cards
            ]

    def sums(self, card: CardRuns, kinds: Sequence[Kind], part: MarkedPasses) -> Sums:
        """Return the sums of some passes on that kind of card."""
        return sums_of(part, card.stores, kinds, are_alike=self.are_alike)

    def _solved(self, kinds: Sequence[Kind], rival: Relaxation | None) -> Relaxation:
        """Return the least of the kinds' best bounds and the rival's.

        A kind is not solved if the prices of the least so far already prove no less for it.
        """
        best = rival
        sums = self._summed(kinds)
        for number, kind in enumerate(kinds):
            stores = self.stores(kind)
            # The best prices would only lift it further above the least.
            if best is not None and value_ns(sums, stores, number, best.byte_prices) >= best.ns:
                continue
            ns, prices = _best_prices(sums, stores, number)
            if best is None or ns < best.ns:
                best = Relaxation(ns=ns, byte_prices=prices, kind=kind)
        assert best is not None
        return best

    def _weighed(self, kind: Streaming, rival: Relaxation) -> Streaming:
        """Return the kind with the weights of the link's total that bound the first draw best.

        There is one weight for prefill and one for decode; any weights are valid. The best value is
        concave in them, so one after the other is moved, by ever less, while that helps. The
        ``rival`` is over all draws. The search ends where the bound exceeds the rival's mean for a
        draw: the rival is then the least, whatever could still be gained.
        """
        weighing = _Weighing(plans=self, kind=kind, rival=rival)
        moved = (0,) if kind.is_early else (1, 0)
        best = max(
            ((share, 0.0 if kind.is_early else share) for share in LINK_WEIGHTS),
            key=weighing.bound_ns,
        )
        for factors in WEIGHT_FACTORS:
            is_moved = True
            while is_moved and weighing.bound_ns(best) < rival.ns / self.num_draws:
                is_moved = False
                for phase, factor in product(moved, factors):
                    share = min(best[phase] * factor, MOST_WEIGHT)
                    tried = (share, best[1]) if phase == 0 else (best[0], share)
                    if weighing.bound_ns(tried) > weighing.bound_ns(best):
                        best = tried
                        is_moved = True
        return replace(kind, link_shares=best)


class _Weighing:
    """Bounds of the first draw by the weights of the link's total, each computed once."""

    def __init__(self, *, plans: FixedPlans, kind: Streaming, rival: Relaxation) -> None:
        self._plans = plans
        self._kind = kind
        self._stores = plans.stores(kind)
        # Weights are sought on one draw, so the rival's prices have to be of one draw.
        self._byte_prices = [price / plans.num_draws for price in rival.byte_prices]
        self._memo = Memo(MOST_WEIGHED)

    def bound_ns(self, shares: tuple[float, float]) -> float:
        """Return the bound in ns that weights (prefill, decode) prove, at the best of the prices
        tried.
        """
        return self._memo.get(shares, lambda: self._proven_ns(shares))

    def _proven_ns(self, shares: tuple[float, float]) -> float:
        kind = replace(self._kind, link_shares=shares)
        sums = [
            replace(own, ahead=np.array([_ahead_ns(card.wholes[0], card.stores, kind)]))
            for own, card in zip(self._both(shares), self._plans.cards, strict=True)
        ]
        return max(
            value_ns(sums, self._stores, 0, [price * lower for price in self._byte_prices])
            for lower in PRICE_PARTS
        )

    def _both(self, shares: tuple[float, float]) -> list[Sums]:
        """Return the sums of both phases on each kind of card; their ``ahead`` is left to the
        caller.
        """
        num_phases = len(self._plans.cards[0].phases)
        parts = [self._part(phase, shares[phase]) for phase in range(num_phases)]
        return [reduce(add, own) for own in zip(*parts, strict=True)]

    def _part(self, phase: int, share: float) -> list[Sums]:
        """Return the sums of one phase on each kind of card, which do not depend on the other
        phase's weight.
        """
        kinds = [replace(self._kind, link_shares=(share, share))]
        return self._memo.get(
            ("part", phase, share),
            lambda: [
                self._plans.sums(card, kinds, card.phases[phase]) for card in self._plans.cards
            ],
        )


def left_beside(stores: Stores, kind: Kind) -> Stores:
    """Return the stores less the kind's buffer: the room for what stays."""
    if kind is None:
        return stores
    return replace(stores, capacity_bytes=stores.capacity_bytes - kind.buffer_bytes(stores))


def sums_of(part: MarkedPasses, stores: Stores, kinds: Sequence[Kind], *, are_alike: bool) -> Sums:
    """Return the relaxed problem of one draw, or of some of its passes, for these kinds of plan.

    The kinds have the same weights of the link, so they share the frontiers. They differ in the
    most that a cell takes.
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
        ahead=np.full(len(kinds), _ahead_ns(part, stores, kinds[0])),
    )


def _ahead_ns(part: MarkedPasses, stores: Stores, kind: Kind) -> float:
    """Return the ns that a byte without resident weights saves, since decode may have filled it
    ahead.
    """
    share = link_share_of(part.work, kind)
    return ahead_share(part.work, share, part.marked) * stores.ns_per_byte(part.work)


def _best_prices(
    sums: Sequence[Sums], stores: Sequence[Stores], kind: int
) -> tuple[float, tuple[float, ...]]:
    """Return the highest bound in ns that prices of a byte prove, and those prices.

    One price is searched within the search for the other. Of more than two kinds of card, all but
    the first have one price in common, which is valid, too.
    """
    others = len(sums) - 1
    rates = np.concatenate(
        [
            own.experts.savings_per_byte(room.expert_bytes)
            for own, room in zip(sums, stores, strict=True)
        ]
    )

    def with_first(first: float) -> tuple[float, tuple[float, ...]]:
        """Return the best bound at that price of the first kind of card, and all prices."""
        if not others:
            return value_ns(sums, stores, kind, (first,)), (first,)
        value, second = _highest(
            lambda price: value_ns(sums, stores, kind, (first, *[price] * others)), rates
        )
        return value, (first, *[second] * others)

    _, first = _highest(lambda price: with_first(price)[0], rates)
    return with_first(first)


def _highest(value: Callable[[float], float], rates: Floats) -> tuple[float, float]:
    """Return the highest value found of a concave function of a price, and that price.

    First, quantiles of ``rates`` are tried, which are the ns that a byte saves. Then the points
    between the best price and its neighbours are tried, again and again.
    """
    prices = np.append(0.0, np.quantile(rates, np.linspace(0, 1, NUM_PRICES)) if len(rates) else [])
    values = {float(price): value(float(price)) for price in prices}
    for _ in range(NUM_REFINEMENTS):
        order = sorted(values)
        place = max(range(len(order)), key=lambda spot: values[order[spot]])
        # The top of a concave function lies next to the best price so far.
        around = order[max(0, place - 1) : place + 2]
        for left, right in pairwise(around):
            values[(left + right) / 2] = value((left + right) / 2)
    price = max(values, key=lambda tried: values[tried])
    return values[price], price
