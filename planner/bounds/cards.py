"""Bounds for plans that lay whole layers out over several cards, which may be unlike.

One card works at a time, and copies to the cards go one after another, as in the simulation of such
plans. Every choice of the cards in use has a bound of its own, and the least of these bounds
counts. With two or more cards in use, each pass moves its hidden states from card to card. Hidden
states go directly where the machine can, else by way of the host. Cards that are alike count as one
card with the memory of all, for their layers cost the same. On unlike cards, each card's bytes have
a price of their own, and each layer lies on the card where it costs least. The proof is in
docs/explanation/bounds.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Any

import numpy as np

from hwprofiles import Machine
from planner.bounds.clairvoyant import repeated_bound
from planner.bounds.draws import MeanBounds, works_of
from planner.bounds.relaxed import CardRuns, FixedPlans
from planner.bounds.rounding import seconds_below
from planner.bounds.stores import LOOSEST, Stores, stores_of
from planner.bounds.work import Floats, SelectedExperts, Work
from sim.costs.cost_model import CostModel
from sim.costs.memory import MemoryRule, working_bytes
from sim.policies.problem import Problem
from sim.step.simulate import Drawn


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Card:
    """A card in use, with its work in every draw.

    ``stores`` is its room under the default memory rule, ``loosest`` its room if all its memory is
    for weights.
    """

    machine: Machine
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
    """Return both bounds for plans that use any of ``cards``, each a machine whose one GPU is that
    card.

    Both are for plans whose layers each lie on one card. The static bound is for plans that keep to
    the default budget of each card's memory. On as many cards as the problem has, it also covers
    plans that hold up to ``held_bytes`` of weights.
    """
    kinds = _kinds(cards)
    known = [_card(problem, machine, draws) for machine in kinds]
    least_bytes = float(held_bytes + _kv_bytes(problem)) if held_bytes else 0.0
    crossing_ns = _crossings_ns(problem, cards, draws)
    found = [
        _bounds_ns(
            [known[kind] for kind in used],
            least_bytes if len(used) == problem.num_cards else 0.0,
            are_alike=are_alike,
        )
        + np.array([(len(used) - 1) * crossing_ns, 0.0])
        for used in _choices([kinds.index(machine) for machine in cards])
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
    """Yield every choice of one or more cards, as the sorted kinds of these cards, each choice
    once.
    """
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
        machine=machine,
        works=works_of(alone, draws),
        stores=replace(stores, capacity_bytes=room),
        loosest=stores_of(alone, LOOSEST),
    )


def _crossings_ns(problem: Problem, cards: Sequence[Machine], draws: Sequence[Drawn]) -> float:
    """Return the least ns that hidden states take to the next card, in all passes of all draws.

    Hidden states go directly where the machine can copy from card to card, else by way of the host.
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


def _bounds_ns(used: Sequence[_Card], least_bytes: float, *, are_alike: bool) -> Floats:
    """Return the static and the clairvoyant bound [2] over all draws, in ns, for plans on those
    cards.

    Crossings between cards are left out. Together the cards hold ``least_bytes``, or what they have
    room for, whichever is more.
    """
    room = sum(card.stores.capacity_bytes for card in used)
    grown = max(1.0, least_bytes / room) if room > 0 else 1.0
    static = FixedPlans(cards=_by_kind(used, grown), are_alike=are_alike).relaxed()
    best = [_least_work(works) for works in zip(*[card.works for card in used], strict=True)]
    loosest = _joined([card.loosest for card in used])
    first_ns, guess = repeated_bound(best[0], loosest, None)
    others = sum(repeated_bound(work, loosest, guess)[0] for work in best[1:])
    return np.array([static.ns, first_ns + others])


def _by_kind(used: Sequence[_Card], grown: float) -> list[CardRuns]:
    """Return the work on each kind of card, and the room of all its cards times ``grown``."""
    kinds = _kinds([card.machine for card in used])
    alike = [[card for card in used if card.machine == kind] for kind in kinds]
    return [
        CardRuns(
            works=own[0].works,
            stores=_joined(
                [
                    replace(card.stores, capacity_bytes=card.stores.capacity_bytes * grown)
                    for card in own
                ]
            ),
        )
        for own in alike
    ]


def _kinds(machines: Sequence[Machine]) -> list[Machine]:
    """Return the different machines, in order of their first appearance."""
    kinds: list[Machine] = []
    for machine in machines:
        if machine not in kinds:
            kinds.append(machine)
    return kinds


def _joined(stores: Sequence[Stores]) -> Stores:
    """Return the stores of one card with the memory of all."""
    return replace(
        stores[0],
        capacity_bytes=sum(own.capacity_bytes for own in stores),
        memory_bytes=sum(own.memory_bytes for own in stores),
    )


def _least_work(works: Sequence[Work]) -> Work:
    """Return each piece of work on the card where it takes least."""
    least: dict[str, Any] = {}
    for field in fields(Work):
        if field.name not in ("experts", "num_tokens", "is_prefill"):
            values = [getattr(work, field.name) for work in works]
            found = np.min(values, axis=0)
            least[field.name] = found if isinstance(values[0], np.ndarray) else float(found)
    on_gpu = np.min([work.experts.gpu_ns for work in works], axis=0)
    experts: SelectedExperts = replace(works[0].experts, gpu_ns=on_gpu)
    return replace(works[0], experts=experts, **least)
