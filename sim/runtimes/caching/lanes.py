"""The two ways to the experts in host memory, which share that memory: the CPU and the link."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

BOTH_OVER_FASTER = 1.03
"""The rate of CPU and link at once over the faster of both alone: the mean of twelve published probes of hosts."""

BOTH_SPREAD = 0.11
"""The spread of that over the probes, in the logarithm (0.82 to 1.20)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLanes:
    """Rates at which expert bytes move: by the CPU alone, by the link alone, by both at once."""

    cpu_bytes_per_s: float
    link_bytes_per_s: float
    both_bytes_per_s: float

    def seconds(self, cpu_bytes: float, link_bytes: float) -> float:
        """Seconds of both amounts, started together.

        While both work, each is slowed alike where their sum would exceed the rate of both at once.
        """
        by_cpu = cpu_bytes / self.cpu_bytes_per_s
        by_link = link_bytes / self.link_bytes_per_s
        together = self.cpu_bytes_per_s + self.link_bytes_per_s
        # Both are slowed in proportion while both work; the longer one goes on alone at its own
        # rate.
        slowing = max(1.0, together / self.both_bytes_per_s)
        shorter = min(by_cpu, by_link)
        return shorter * slowing + max(by_cpu, by_link) - shorter


def fetches(table: Sequence[int], num_misses: int) -> int:
    """The copies of a layer that a table by number of misses states; its last entry holds beyond it."""
    return min(num_misses, table[min(num_misses, len(table) - 1)]) if table else 0


def estimated_both(dram_bytes_per_s: float, link_bytes_per_s: float) -> float:
    """The rate of CPU and link at once where none is measured."""
    return BOTH_OVER_FASTER * max(dram_bytes_per_s, link_bytes_per_s)


def with_cards(lanes: ExpertLanes, num_links: int) -> ExpertLanes:
    """The lanes where so many cards copy at once, each over a link of its own."""
    return replace(lanes, link_bytes_per_s=lanes.link_bytes_per_s * num_links)
