"""The Lagrangian dual of placing fixed weights: any slopes and any price of a byte give a valid
bound; this looks for the best.

A cell (one layer of one pass) with frontier G, of whose experts a weight q is missing, takes at
least G(q) ≥ slope·q + min over vertices v of (G(v) − slope·v), for any slope ≥ 0. With those lines
for all cells, and a price for each byte of GPU memory, each expert decides for itself whether it is
worth its bytes, each layer whether its dense part is, and so does the head.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from planner.bounds.descent import descend
from planner.bounds.frontier import Frontiers

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Multipliers:
    """``slope`` [cell] in ns per missing weight, ``byte_price`` in ns per byte of GPU memory; all
    at least 0.
    """

    slope: Floats
    byte_price: float


@dataclass(frozen=True, kw_only=True, eq=False)
class StaticDual:
    """A relaxed placement problem. [cell]: frontiers, ``layer``; [triple]: ``cell``, ``item``;
    [item]: bytes, ``item_layer``.

    [layer + 1], the head last: ``on_ns`` without the cells when resident, ``off_ns`` in all when
    not, ``dense_bytes``. ``rest_ns`` is spent in any case. Bytes that hold no weights may have been
    filled ahead of time, which saves ``ahead_price`` ns each.
    """

    frontiers: Frontiers
    layer: NDArray[np.int64]
    cell: NDArray[np.int64]
    item: NDArray[np.int64]
    item_bytes: Floats
    item_layer: NDArray[np.int64]
    on_ns: Floats
    off_ns: Floats
    dense_bytes: Floats
    rest_ns: float
    capacity_bytes: float
    ahead_price: float = 0.0

    @cached_property
    def weights(self) -> "csr_array":
        """Weight of an item in a cell, [item, cell]."""
        from scipy.sparse import csr_array  # a tenth of a second, which no bound on a mean needs

        shape = (len(self.item_bytes), len(self.layer))
        return csr_array((self.frontiers.weight, (self.item, self.cell)), shape=shape)

    @cached_property
    def weights_by_cell(self) -> "csr_array":
        """The same, [cell, item]."""
        from scipy.sparse import csr_array

        return csr_array(self.weights.T)

    @cached_property
    def total_weight(self) -> Floats:
        """Weight of all experts of a cell."""
        return np.bincount(self.cell, self.frontiers.weight, minlength=len(self.layer)).astype(
            np.float64
        )

    @cached_property
    def vertex_cell(self) -> NDArray[np.int64]:
        """The cell of each vertex."""
        return np.repeat(np.arange(len(self.layer)), np.diff(self.frontiers.offsets))

    @cached_property
    def steepest(self) -> Floats:
        """The steepest slope of each cell's frontier, at least 0."""
        found = np.zeros(len(self.layer))
        rise = np.diff(self.frontiers.ns)
        run = np.diff(self.frontiers.missing)
        inside = np.diff(self.vertex_cell) == 0
        np.maximum.at(found, self.vertex_cell[1:][inside], rise[inside] / run[inside])
        return found

    def value_ns(self, at: Multipliers) -> float:
        """The bound that these multipliers prove."""
        return self._evaluate(at.slope, at.byte_price, None)[0]

    def residency(self, at: Multipliers, rounding: float) -> tuple[Floats, Floats]:
        """Shares of each item and dense part that the multipliers keep on the GPU, corners rounded
        by that share.
        """
        _, _, _, kept, dense = self._evaluate(at.slope, at.byte_price, rounding)
        return kept, dense

    def solve(
        self,
        start: Multipliers | None = None,
        stages: tuple[float, ...] = (0.1, 0.02, 0.004),
        steps: int = 20,
    ) -> tuple[float, Multipliers]:
        """The best bound found in ns, and its multipliers.

        Corners are rounded by ``stages`` of a typical gain, to steer the search.
        """
        best = start or self._start()
        value = self.value_ns(best)
        scale = np.maximum(self._slope_scale, 1e-9)
        price_scale = self._price_scale
        total = max(abs(value), 1.0)
        low = np.zeros(len(scale) + 1)
        high = np.append(self.steepest / scale, np.inf)
        at = np.append(best.slope / scale, best.byte_price / price_scale)
        for rounding in stages:

            def loss(point: Floats, rounding: float = rounding) -> tuple[float, Floats]:
                return self._loss(point, scale, price_scale, rounding, total)

            at = descend(loss, at, low, high, steps)
            tried = Multipliers(slope=at[:-1] * scale, byte_price=float(at[-1] * price_scale))
            if self.value_ns(tried) > value:
                value = self.value_ns(tried)
                best = tried
        return value, best

    def _loss(
        self, at: Floats, scale: Floats, price_scale: float, rounding: float, total: float
    ) -> tuple[float, Floats]:
        value, by_slope, by_price, _, _ = self._evaluate(
            at[:-1] * scale, at[-1] * price_scale, rounding
        )
        return -value / total, -np.append(by_slope * scale, by_price * price_scale) / total

    @cached_property
    def _slope_scale(self) -> Floats:
        first = self.frontiers.offsets[:-1]
        last = self.frontiers.offsets[1:] - 1
        run = np.maximum(self.frontiers.missing[last] - self.frontiers.missing[first], 1e-9)
        return np.maximum(
            (self.frontiers.ns[last] - self.frontiers.ns[first]) / run, self.steepest / 100
        )

    def _start(self) -> Multipliers:
        return Multipliers(slope=self._slope_scale, byte_price=self._marginal(self._slope_scale))

    @cached_property
    def _price_scale(self) -> float:
        rate, _ = self._rates(self._slope_scale)
        return max(self._marginal(self._slope_scale), float(rate.mean()) / 10, 1e-12)

    def _marginal(self, slope: Floats) -> float:
        """Gain per byte of the last expert or dense part that fits when the best come first."""
        rate, size = self._rates(slope)
        order = np.argsort(-rate)
        position = int(np.searchsorted(np.cumsum(size[order]), self.capacity_bytes))
        return float(rate[order[position]]) if position < len(order) else 0.0

    def _rates(self, slope: Floats) -> tuple[Floats, Floats]:
        """Gain per byte of every expert and of every dense part (with no expert on the GPU), and
        their bytes.
        """
        without = np.bincount(
            self.layer, self.frontiers.ns[self.frontiers.offsets[1:] - 1], minlength=len(self.on_ns)
        )
        gain = np.append(self.weights @ slope, np.maximum(0.0, self.off_ns - self.on_ns - without))
        size = np.append(self.item_bytes, self.dense_bytes)
        return gain / np.maximum(size, 1), size

    def _evaluate(
        self, slope: Floats, price: float, rounding: float | None
    ) -> tuple[float, Floats, float, Floats, Floats]:
        """Value, its derivatives by slope and by price, the share of each item and dense part kept;
        corners rounded unless None.
        """
        wide = None if rounding is None else rounding * np.maximum(self._slope_scale, 1e-9)
        least, missing = self._least(slope, wide)
        gain = self.weights @ slope - price * self.item_bytes
        surplus, kept = _positive(
            gain, None if rounding is None else rounding * self._price_scale * self.item_bytes
        )
        num = len(self.on_ns)
        on = (
            self.on_ns
            + price * self.dense_bytes
            + np.bincount(self.layer, least + slope * self.total_weight, minlength=num)
        )
        on -= np.bincount(self.item_layer, surplus, minlength=num)
        saved, dense = _positive(
            self.off_ns - on, None if rounding is None else rounding * np.maximum(self.on_ns, 1.0)
        )
        value = float(
            self.off_ns.sum()
            - saved.sum()
            + self.rest_ns
            - max(price, self.ahead_price) * self.capacity_bytes
        )
        kept = kept * dense[self.item_layer]
        by_slope = dense[self.layer] * (self.total_weight - missing) - self.weights_by_cell @ kept
        by_price = float((self.item_bytes * kept).sum() + (self.dense_bytes * dense).sum()) - (
            self.capacity_bytes if price >= self.ahead_price else 0.0
        )
        return value, by_slope, by_price, kept, dense

    def _least(self, slope: Floats, wide: Floats | None) -> tuple[Floats, Floats]:
        """Per cell, min over vertices of ns − slope · missing, and (on average over the nearly
        best) how much is missing there.
        """
        if not len(self.layer):
            return np.zeros(0), np.zeros(0)
        starts = self.frontiers.offsets[:-1]
        cell = self.vertex_cell
        height = self.frontiers.ns - slope[cell] * self.frontiers.missing
        least = np.minimum.reduceat(height, starts)
        if wide is None:
            return least, least
        likely = np.exp(np.maximum((least[cell] - height) / wide[cell], -60))
        total = np.add.reduceat(likely, starts)
        return least - wide * np.log(total), np.add.reduceat(
            likely * self.frontiers.missing, starts
        ) / total


def _positive(gain: Floats, width: Floats | float | None) -> tuple[Floats, Floats]:
    """max(0, gain) and its derivative, the corner rounded over that width."""
    if width is None:
        return np.maximum(gain, 0.0), (gain > 0).astype(np.float64)
    ratio = np.clip(gain / np.maximum(width, 1e-12), -60, 60)
    share = 1 / (1 + np.exp(-ratio))
    return np.maximum(gain, 0.0) + width * np.log1p(np.exp(-np.abs(ratio))), share
