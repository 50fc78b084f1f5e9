"""The relaxed problem of some kinds of plan, summed over runs, and what prices of a byte prove."""

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
    """What the experts of every layer take at least, in ns, against which of them are resident."""

    @abstractmethod
    def resident_ns(self, kind: int, base_ns: Floats, rent_ns: Floats) -> Floats:
        """[layer]: the least time of a resident layer for plans of that kind: ``base_ns`` [layer]
        without its experts, and ``rent_ns`` [layer] for each of them that is resident.
        """

    @abstractmethod
    def savings_per_byte(self, item_bytes: Floats) -> Floats:
        """Prices of a byte, in ns, among which the best one may be; ``item_bytes`` [layer]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums(Summed):
    """The relaxed problem on one kind of card: its experts, and [kind, layer] times with and
    without what is resident, in ns.

    [kind]: the head's times, ``rest`` that is spent in any case, and what a byte without weights
    saves, which decode may have filled ahead.
    """

    experts: ExpertTimes
    on: Floats
    off: Floats
    head_on: Floats
    head_off: Floats
    rest: Floats
    ahead: Floats

    def layers_ns(self, kind: int, stores: Stores, byte_price: float) -> Floats:
        """[layer]: the least time at that price of a byte, resident or not."""
        base = self.on[kind] + byte_price * stores.dense_bytes
        here = self.experts.resident_ns(kind, base, byte_price * stores.expert_bytes)
        return np.asarray(np.minimum(here, self.off[kind]))

    def head_ns(self, kind: int, stores: Stores, byte_price: float) -> float:
        """The head's least time at that price of a byte, resident or not."""
        return float(min(self.head_on[kind] + byte_price * stores.head_bytes, self.head_off[kind]))

    def memory_ns(self, kind: int, stores: Stores, byte_price: float) -> float:
        """What the card's memory costs at that price of a byte."""
        # Where a byte that holds no weights saves more by being filled ahead, that is what the
        # byte costs.
        ahead = float(self.ahead[kind])
        apart = stores.memory_bytes - stores.capacity_bytes
        return ahead * apart + max(byte_price, ahead) * stores.capacity_bytes


def value_ns(
    sums: Sequence[Sums], stores: Sequence[Stores], kind: int, byte_prices: Sequence[float]
) -> float:
    """The time that prices of a byte, one for each kind of card, prove for plans of that kind. Each
    layer, and the head, lies on the card where it costs least.
    """
    cards = list(zip(sums, stores, byte_prices, strict=True))
    layers = [own.layers_ns(kind, room, price) for own, room, price in cards]
    head = min(own.head_ns(kind, room, price) for own, room, price in cards)
    memory = sum(own.memory_ns(kind, room, price) for own, room, price in cards)
    return float(np.min(layers, axis=0).sum() + head + sums[0].rest[kind] - memory)
