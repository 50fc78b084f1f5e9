"""The relaxed problem of some kinds of plan, summed over runs."""

from dataclasses import dataclass
from typing import Protocol, Self

from planner.bounds.work import Floats


class ExpertTimes(Protocol):
    """What the experts of every layer take at least, summed over runs, against which of them are
    resident.
    """

    def __add__(self, other: Self) -> Self:
        """The sums over both."""

    def layers_ns(
        self,
        kind: int,
        on: Floats,
        off: Floats,
        dense_bytes: Floats,
        item_bytes: Floats,
        byte_price: float,
    ) -> float:
        """Sum over layers of the least time at that price of a byte, for plans of that kind; all
        else [layer].
        """

    def each_layer_ns(
        self,
        kind: int,
        on: Floats,
        off: Floats,
        dense_bytes: Floats,
        item_bytes: Floats,
        byte_price: float,
    ) -> Floats:
        """[layer]: the same, of each layer."""

    def savings_per_byte(self, item_bytes: Floats) -> Floats:
        """Prices of a byte, in ns, among which the best one may be."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """The relaxed problem of some kinds of plan, summed over runs: of experts, and [kind, layer]
    times with and without what is resident.

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

    def __add__(self, other: "Sums") -> "Sums":
        """The sums over both."""
        return Sums(
            experts=self.experts + other.experts,
            on=self.on + other.on,
            off=self.off + other.off,
            head_on=self.head_on + other.head_on,
            head_off=self.head_off + other.head_off,
            rest=self.rest + other.rest,
            ahead=self.ahead + other.ahead,
        )
