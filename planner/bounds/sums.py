"""The relaxed problem of some kinds of plan, summed over runs, and the bound that prices of a byte
prove.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from planner.bounds.stores import Stores
from planner.bounds.work import Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summed:
    """Sums over runs, which add up field by field."""

    def __add__(self, other: Self) -> Self:
        """The sums over both."""
        names = [field.name for field in fields(self)]
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertTimes(Summed, ABC):
    """The least ns of the experts of every layer, by which or how many of them are resident."""

    @abstractmethod
    def resident_ns(self, kind: int, base_ns: Floats, rent_ns: Floats) -> Floats:
        """Return the least ns [layer] of each layer if it is resident, for plans of that kind.

        A layer takes ``base_ns`` [layer] without its experts, and ``rent_ns`` [layer] for each
        resident expert.
        """

    @abstractmethod
    def savings_per_byte(self, item_bytes: Floats) -> Floats:
        """Return prices of a byte, in ns, from which the search for the best one starts.

        ``item_bytes`` [layer] is the size of one expert.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums(Summed):
    """The relaxed problem on one kind of card, for some kinds of plan; times are in ns.

    ``on`` [kind, layer] is a resident layer without its experts, ``off`` [kind, layer] a layer that
    is not resident. ``head_on`` and ``head_off`` [kind] are the same for the head, and ``rest``
    [kind] is spent in any case. ``ahead`` [kind] is what a byte without resident weights saves,
    which decode may have filled ahead.
    """

    experts: ExpertTimes
    on: Floats
    off: Floats
    head_on: Floats
    head_off: Floats
    rest: Floats
    ahead: Floats

    def layers_ns(self, kind: int, stores: Stores, byte_price: float) -> Floats:
        """Return the least ns of each layer [layer] at that price of a byte, resident or not."""
        base = self.on[kind] + byte_price * stores.dense_bytes
        here = self.experts.resident_ns(kind, base, byte_price * stores.expert_bytes)
        return np.asarray(np.minimum(here, self.off[kind]))

    def head_ns(self, kind: int, stores: Stores, byte_price: float) -> float:
        """Return the head's least ns at that price of a byte, resident or not."""
        return float(min(self.head_on[kind] + byte_price * stores.head_bytes, self.head_off[kind]))

    def memory_ns(self, kind: int, stores: Stores, byte_price: float) -> float:
        """Return what the card's memory costs in ns at that price of a byte."""
        # Where a byte that holds no weights saves more by being filled ahead, that is what the
        # byte costs.
        ahead = float(self.ahead[kind])
        apart = stores.memory_bytes - stores.capacity_bytes
        return ahead * apart + max(byte_price, ahead) * stores.capacity_bytes


def value_ns(
    sums: Sequence[Sums], stores: Sequence[Stores], kind: int, byte_prices: Sequence[float]
) -> float:
    """Return the bound in ns that prices of a byte prove for plans of that kind.

    There is one price for each kind of card. Each layer, and the head, lies on the card where it
    costs least.
    """
    cards = list(zip(sums, stores, byte_prices, strict=True))
    layers = [own.layers_ns(kind, room, price) for own, room, price in cards]
    head = min(own.head_ns(kind, room, price) for own, room, price in cards)
    memory = sum(own.memory_ns(kind, room, price) for own, room, price in cards)
    return float(np.min(layers, axis=0).sum() + head + sums[0].rest[kind] - memory)
