"""Bounds for plans that lay whole layers out over several cards, which may be unlike.

One card works at a time, and copies to the cards go one after another, as in the simulation of
such plans. Every choice of the cards in use is bounded apart, and the least is the bound: where two
or more are used, each pass carries its hidden states from card to card, down to the host and up
again. Cards that are alike are one card with the memory of all, for their layers cost the same.
Where they are unlike, each card's bytes have a price of their own, and each layer lies on whichever
card is cheapest for it. The proof is in docs/explanation/bounds.md.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations, product
from typing import Any

import numpy as np

from hwprofiles import Machine
from planner.bounds.clairvoyant import repeated_bound
from planner.bounds.draws import (
    LINK_WEIGHTS,
    MOST_WEIGHT,
    PRICE_PARTS,
    WEIGHT_FACTORS,
    WITHIN,
    Kind,
    MeanBounds,
    relaxed_draws,
    summed,
    sums_of,
    wholes_of,
    works_of,
)
from planner.bounds.part import MarkedPasses
from planner.bounds.rounding import seconds_below
from planner.bounds.static import KINDS, Streaming
from planner.bounds.stores import LOOSEST, Stores, stores_of
from planner.bounds.sums import Sums
from planner.bounds.work import Floats, SelectedExperts, Work
from sim.costs.cost_model import CostModel
from sim.costs.memory import MemoryRule, working_bytes
from sim.policies.problem import Problem
from sim.step.simulate import Drawn

GOLDEN = (5**0.5 - 1) / 2
NUM_SECTIONS = 36
"""Steps of a search by golden section: the place is known to 3 in 10^8 of the range."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Card:
    """A card in use: its work in every draw, and what it has room for under a rule and in all."""

    works: Sequence[Work]
    stores: Stores
    loosest: Stores


def bounds_over_cards(
    problem: Problem,
    cards: Sequence[Machine],
    draws: Sequence[Drawn],
    *,
    are_alike: bool,
    held_bytes: int = 0,
) -> MeanBounds:
    """Both bounds for plans that use any of these cards, each a machine whose one GPU it is.

    The static one is for plans that keep to the default budget of each card's memory, or hold up to
    ``held_bytes`` of weights on as many cards as the problem's own, whichever is more; both are for
    plans whose layers each lie on one card.
    """
    known: list[tuple[Machine, _Card]] = []
    for machine in cards:
        if machine not in [before for before, _ in known]:
            known.append((machine, _card(problem, machine, draws)))
    kinds = [next(at for at, (before, _) in enumerate(known) if before == own) for own in cards]
    least_bytes = float(held_bytes + _kv_bytes(problem)) if held_bytes else 0.0
    crossing_ns = _crossings_ns(problem, cards, draws)
    found = [
        _bounds_ns(
            [known[kind] for kind in used],
            least_bytes if len(used) == problem.num_cards else 0.0,
            are_alike=are_alike,
        )
        + np.array([(len(used) - 1) * crossing_ns, 0.0])
        for used in _choices(kinds)
    ]
    static_ns, clairvoyant_ns = np.min(found, axis=0)
    number = len(draws)
    return MeanBounds(
        static_s=seconds_below(max(static_ns, clairvoyant_ns) / number),
        clairvoyant_s=seconds_below(clairvoyant_ns / number),
        byte_price_s=0.0,
        num_draws=number,
        are_alike=are_alike,
    )


def _choices(kinds: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every choice of cards by kind, each once."""
    for number in range(1, len(kinds) + 1):
        yield from sorted(set(combinations(sorted(kinds), number)))


def _card(problem: Problem, machine: Machine, draws: Sequence[Drawn]) -> _Card:
    alone = replace(problem, machine=machine, split=None, common_costs=None)
    rule = MemoryRule()
    stores = stores_of(alone, rule)
    spared = [
        working_bytes(problem.model, problem.batch, problem.feeding, rule, has_head=has_head)
        for has_head in (True, False)
    ]
    room = stores.capacity_bytes + spared[0] - spared[1]  # a card may have no head
    return _Card(
        works=works_of(alone, draws),
        stores=replace(stores, capacity_bytes=room),
        loosest=stores_of(alone, LOOSEST),
    )


def _crossings_ns(problem: Problem, cards: Sequence[Machine], draws: Sequence[Drawn]) -> float:
    """The least that hidden states take from one card to another in all passes of all draws:
    straight where the machine can, else by way of the host.
    """
    model = problem.model
    across = CostModel(machine=cards[0], model=model)
    total = 0.0
    for drawn in draws:
        sizes = drawn.passes.num_tokens.astype(np.int64) * model.hidden * model.activation_bytes
        straight = across.copy_across(sizes)
        if straight is not None:
            total += float(straight.ns.sum())
            continue
        for way in ("d2h", "h2d"):
            found = [
                CostModel(machine=card, model=model).copy(way, sizes, is_pinned=is_pinned).ns
                for card in cards
                for is_pinned in (True, False)
            ]
            total += float(np.min(found, axis=0).sum())
    return total


def _kv_bytes(problem: Problem) -> int:
    model = problem.model
    batch = problem.batch
    each = (model.layer_kv_bytes(layer, batch.context_tokens) for layer in range(model.num_layers))
    return batch.num_sequences * sum(each)


def _bounds_ns(
    used: Sequence[tuple[Machine, _Card]], least_bytes: float, *, are_alike: bool
) -> Floats:
    """Static and clairvoyant bound over all draws for plans on those cards, crossings left out;
    the cards hold ``least_bytes`` together, or what they have room for.
    """
    room = sum(card.stores.capacity_bytes for _, card in used)
    grown = max(1.0, least_bytes / room) if room > 0 else 1.0
    stores = [
        replace(card.stores, capacity_bytes=card.stores.capacity_bytes * grown) for _, card in used
    ]
    first = used[0][1]
    if all(machine == used[0][0] for machine, _ in used):
        static_ns = relaxed_draws(wholes_of(first.works), _joined(stores), are_alike=are_alike).ns
    else:
        static_ns = _unlike_ns(*_by_kind(used, stores), are_alike=are_alike)
    own = [card for _, card in used]
    best = [_least_work([card.works[draw] for card in own]) for draw in range(len(first.works))]
    loosest = _joined([card.loosest for card in own])
    first_ns, guess = repeated_bound(best[0], loosest, None)
    others = sum(repeated_bound(work, loosest, guess)[0] for work in best[1:])
    return np.array([static_ns, first_ns + others])


def _by_kind(
    used: Sequence[tuple[Machine, _Card]], stores: Sequence[Stores]
) -> tuple[list[list[MarkedPasses]], list[Stores]]:
    """The work on each kind of card, and what all cards of that kind have room for."""
    kinds: list[Machine] = []
    for machine, _ in used:
        if machine not in kinds:
            kinds.append(machine)
    wholes = [wholes_of(next(card.works for own, card in used if own == kind)) for kind in kinds]
    rooms = [
        _joined([room for (own, _), room in zip(used, stores, strict=True) if own == kind])
        for kind in kinds
    ]
    return wholes, rooms


def _joined(stores: Sequence[Stores]) -> Stores:
    """One card with the memory of all."""
    return replace(
        stores[0],
        capacity_bytes=sum(own.capacity_bytes for own in stores),
        memory_bytes=sum(own.memory_bytes for own in stores),
    )


def _least_work(works: Sequence[Work]) -> Work:
    """Each piece of work on the card where it takes least."""
    least: dict[str, Any] = {}
    for field in fields(Work):
        if field.name not in ("experts", "num_tokens", "is_prefill"):
            values = [getattr(work, field.name) for work in works]
            found = np.min(values, axis=0)
            least[field.name] = found if isinstance(values[0], np.ndarray) else float(found)
    on_gpu = np.min([work.experts.gpu_ns for work in works], axis=0)
    experts: SelectedExperts = replace(works[0].experts, gpu_ns=on_gpu)
    return replace(works[0], experts=experts, **least)


def _unlike_ns(
    wholes: Sequence[Sequence[MarkedPasses]], stores: Sequence[Stores], *, are_alike: bool
) -> float:
    """The static bound for unlike cards, in ns over all draws."""
    within = list(WITHIN)
    sums = [
        summed(whole, own, within, are_alike=are_alike)
        for whole, own in zip(wholes, stores, strict=True)
    ]
    best, prices = min(
        (_best_prices(sums, stores, number) for number in range(len(within))),
        key=lambda found: found[0],
    )
    for kind in KINDS:
        if kind.is_ahead or kind.is_early:
            weighed: list[Kind] = [
                _weighed(wholes, stores, kind, (best, prices), are_alike=are_alike)
            ]
            again = [
                summed(whole, own, weighed, are_alike=are_alike)
                for whole, own in zip(wholes, stores, strict=True)
            ]
            best = min(best, _best_prices(again, stores, 0)[0])
    return best


def _weighed(
    wholes: Sequence[Sequence[MarkedPasses]],
    stores: Sequence[Stores],
    kind: Streaming,
    rival: tuple[float, Sequence[float]],
    *,
    are_alike: bool,
) -> Streaming:
    """The kind with the weights of the link's total, in prefill and in decode, that bound the first
    draw best: any are valid.

    ``rival`` is the bound of plans that copy nothing ahead, with its prices, over all draws. As for
    one card, weights are moved by ever less while that helps, until the rival is exceeded.
    """
    number = len(wholes[0])
    known: dict[tuple[float, float], float] = {}

    def bound(shares: tuple[float, float]) -> float:
        """What those weights prove, in ns, computed once each."""
        if shares not in known:
            tried = replace(kind, link_shares=shares)
            sums = [
                sums_of(whole[0], own, [tried], are_alike=are_alike)
                for whole, own in zip(wholes, stores, strict=True)
            ]
            known[shares] = max(
                value_over_cards(sums, stores, 0, [price * part / number for price in rival[1]])
                for part in PRICE_PARTS
            )
        return known[shares]

    best = max(((share, 0.0 if kind.is_early else share) for share in LINK_WEIGHTS), key=bound)
    moved = (0,) if kind.is_early else (1, 0)
    for factors in WEIGHT_FACTORS:
        is_moved = True
        while is_moved and bound(best) < rival[0] / number:
            is_moved = False
            for phase, factor in product(moved, factors):
                share = min(best[phase] * factor, MOST_WEIGHT)
                tried = (share, best[1]) if phase == 0 else (best[0], share)
                if bound(tried) > bound(best):
                    best = tried
                    is_moved = True
    return replace(kind, link_shares=best)


def value_over_cards(
    sums: Sequence[Sums], stores: Sequence[Stores], number: int, prices: Sequence[float]
) -> float:
    """What those prices of a byte on each card prove, in ns: each layer, and the head, lies where
    it costs least.

    A buffer for what is streamed is not charged, since it may lie on any of the cards.
    """
    parts = list(zip(sums, stores, prices, strict=True))
    layers = [
        own.experts.each_layer_ns(
            number, own.on[number], own.off[number], room.dense_bytes, room.expert_bytes, price
        )
        for own, room, price in parts
    ]
    heads = [
        min(own.head_on[number] + price * room.head_bytes, own.head_off[number])
        for own, room, price in parts
    ]
    paid = sum(
        own.ahead[number] * (room.memory_bytes - room.capacity_bytes)
        + max(price, own.ahead[number]) * room.capacity_bytes
        for own, room, price in parts
    )
    return float(np.min(layers, axis=0).sum() + min(heads) + sums[0].rest[number] - paid)


def _best_prices(
    sums: Sequence[Sums], stores: Sequence[Stores], number: int
) -> tuple[float, tuple[float, ...]]:
    """The highest bound that prices of a byte prove, and those prices.

    The bound is concave in them: one price is searched within the search for the other. Of more
    than two kinds of cards, all but the first have one price in common, which is valid, too.
    """
    rates = [
        own.experts.savings_per_byte(room.expert_bytes)
        for own, room in zip(sums, stores, strict=True)
    ]
    top = max(float(rate.max()) if len(rate) else 0.0 for rate in rates)

    def value(first: float, second: float) -> float:
        """What the first card's price and that of all others prove."""
        prices = (first, *(second,) * (len(sums) - 1))
        return value_over_cards(sums, stores, number, prices)

    def second_of(first: float) -> float:
        """The best price for the others beside the first's."""
        return _highest(lambda second: value(first, second), top)

    first = _highest(lambda tried: value(tried, second_of(tried)), top)
    second = second_of(first)
    return value(first, second), (first, *(second,) * (len(sums) - 1))


def _highest(value: Callable[[float], float], top: float) -> float:
    """Where between 0 and ``top`` a concave function is highest, by golden section."""
    low = 0.0
    high = top
    left = high - GOLDEN * (high - low)
    right = low + GOLDEN * (high - low)
    at_left = value(left)
    at_right = value(right)
    for _ in range(NUM_SECTIONS):
        if at_left < at_right:
            low = left
            left = right
            at_left = at_right
            right = low + GOLDEN * (high - low)
            at_right = value(right)
        else:
            high = right
            right = left
            at_right = at_left
            left = high - GOLDEN * (high - low)
            at_left = value(left)
    return left if at_left > at_right else right
