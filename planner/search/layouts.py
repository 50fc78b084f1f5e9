"""Ways to lay layers out over cards that a plan may choose from."""

from collections.abc import Iterator

import numpy as np

from hwprofiles import InputError, Machine
from sim.costs.cards import cards_of
from sim.costs.memory import machine_bytes
from sim.model.model import Model

NUM_BETWEEN = 4
"""Splits over two unlike cards that are tried.

The most layers on the smaller card are its share of all memory. The fewest are those that the
larger card has no room for, or those that fill the smaller one, if they are fewer.
"""

Layout = tuple[int, ...]
"""Layers on each of a machine's cards, in the order of ``cards_of``."""


def planned_cards(machine: Machine, num_gpus: int) -> tuple[Machine, ...]:
    """Return the first ``num_gpus`` cards of a machine. Raises InputError where there are fewer."""
    cards = cards_of(machine)
    if num_gpus > len(cards):
        raise InputError(
            f"`gpus` must be between 1 and the {len(cards)} of {machine.name}, got {num_gpus}"
        )
    return cards[:num_gpus]


def by_memory(machine: Machine, model: Model, num_gpus: int) -> Layout:
    """Return the layers on each of the first ``num_gpus`` cards, by the memory of each.

    llama.cpp lays layers out like this, unless told otherwise. Raises InputError where there are
    fewer cards, or fewer layers than cards.
    """
    cards = planned_cards(machine, num_gpus)
    if num_gpus > model.num_layers:
        raise InputError(
            f"`gpus` must be at most the {model.num_layers} layers of {model.name}, got {num_gpus}"
        )
    sizes = np.array([machine_bytes(card) for card in cards], float)
    return _by_share(sizes / sizes.sum(), model)


def layouts(machine: Machine, model: Model, num_gpus: int) -> tuple[Layout, ...]:
    """Return each kind of card alone, then layers over two and more of them, up to that many cards.

    One card alone is always among them, so that a plan for several cards is never slower than one
    for any of them.
    """
    cards = planned_cards(machine, num_gpus)
    found: dict[Layout, None] = {}
    for number in range(num_gpus):
        first = cards.index(cards[number])
        found[tuple(model.num_layers * (card == first) for card in range(num_gpus))] = None
    for number in range(2, num_gpus + 1):
        found |= dict.fromkeys(
            (*layout, *(0,) * (num_gpus - number)) for layout in _over(cards[:number], model)
        )
    return tuple(found)


def _over(cards: tuple[Machine, ...], model: Model) -> Iterator[Layout]:
    """Splits of the layers over all of those cards."""
    sizes = np.array([machine_bytes(card) for card in cards], float)
    if all(card == cards[0] for card in cards) or len(cards) > 2:
        yield _by_share(sizes / sizes.sum(), model)
        return
    smaller = int(sizes.argmin())
    whole = min(1.0, float(sizes[smaller]) / model.total_bytes)
    share = float(sizes[smaller] / sizes.sum())
    rest = max(0.0, 1.0 - float(sizes.max()) / model.total_bytes)
    for part in np.linspace(min(whole, rest, share), share, NUM_BETWEEN):
        shares = np.full(2, 1 - part)
        shares[smaller] = part
        yield _by_share(shares, model)


def _by_share(shares: np.ndarray, model: Model) -> Layout:
    """Return the layers on each card by ``shares`` [card], at least one on each."""
    borders = np.rint(np.cumsum(shares) * model.num_layers).astype(int)
    counts = np.maximum(1, np.diff(borders, prepend=0))
    counts[counts.argmax()] += model.num_layers - counts.sum()
    return tuple(counts.tolist())
