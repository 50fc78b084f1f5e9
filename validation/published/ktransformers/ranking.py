"""Compare the simulated ranking of the grid with the published one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from scipy.stats import kendalltau

Grid = Mapping[tuple[float, str], float]
"""Tokens a second by (share of the experts on the GPU, placement)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Published and simulated grids of the same cells.

    Published cells within ``noise_fraction`` of each other count as equal.
    """

    published: Grid
    simulated: Grid
    noise_fraction: float

    @property
    def shares(self) -> list[float]:
        """The shares at which placements differ: neither none of the experts nor all."""
        return sorted({share for share, _ in self.published if 0.0 < share < 1.0})

    @property
    def tau(self) -> float:
        """Kendall's tau-b over all cells at these shares."""
        return self._tau(self.shares)

    @property
    def tau_within_shares(self) -> float:
        """Mean over shares of tau-b among a share's placements, so without what the share itself
        tells.
        """
        return sum(self._tau([share]) for share in self.shares) / len(self.shares)

    @property
    def tau_of_shares_alone(self) -> float:
        """Tau-b of a simulator that knew of no placement, so that all cells of a share are
        equal.
        """
        keys = self._keys(self.shares)
        return _tau([share for share, _ in keys], [self.published[key] for key in keys])

    def right_best(self) -> list[float]:
        """Return the shares at which the simulated best is the published best, except for the
        noise.
        """
        return [share for share in self.shares if self._is_right(share, 1.0)]

    def right_worst(self, alike: Collection[str] = ()) -> list[float]:
        """Return the shares at which the simulated worst is the published worst, except for the
        noise.

        Placements in ``alike`` count as each other.
        """
        return [share for share in self.shares if self._is_right(share, -1.0, alike)]

    def _is_right(self, share: float, sign: float, alike: Collection[str] = ()) -> bool:
        keys = self._keys([share])
        chosen = max(keys, key=lambda key: sign * self.simulated[key])
        extreme = max(keys, key=lambda key: sign * self.published[key])
        # Placements that know nothing of the routing differ by chance alone.
        if chosen[1] in alike and extreme[1] in alike:
            return True
        low, high = sorted((self.published[chosen], self.published[extreme]))
        return high / low - 1.0 <= self.noise_fraction

    def _tau(self, shares: list[float]) -> float:
        keys = self._keys(shares)
        return _tau([self.simulated[key] for key in keys], [self.published[key] for key in keys])

    def _keys(self, shares: list[float]) -> list[tuple[float, str]]:
        return [key for key in self.published if key[0] in shares]


def noise_of(published: Grid) -> float:
    """Return the spread of the cells without experts on the GPU, where all placements are the
    same.
    """
    cells = [value for (share, _), value in published.items() if share == 0.0]
    return max(cells) / min(cells) - 1.0


def _tau(simulated: list[float], published: list[float]) -> float:
    return float(kendalltau(simulated, published).statistic)
