"""The two lanes to experts in host memory, the CPU and the link, which share that memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

BOTH_OVER_FASTER = 1.03
"""The rate of CPU and link at once, over that of the faster one alone.

It is the mean of twelve published probes of hosts.
"""

BOTH_SPREAD = 0.11
"""The spread of BOTH_OVER_FASTER over the probes, in the logarithm (0.82 to 1.20)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLanes:
    """Rates at which expert bytes move: by the CPU alone, by the link alone, by both at once."""

    cpu_bytes_per_s: float
    link_bytes_per_s: float
    both_bytes_per_s: float

    def seconds(self, cpu_bytes: float, link_bytes: float) -> float:
        """Return the seconds until both amounts, started together, are done.

        While both lanes work, they are slowed alike if the sum of their rates exceeds
        ``both_bytes_per_s``.
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
    """Return how many of a layer's ``num_misses`` misses are copied, by a table over their number.

    The last entry also holds for more misses than the table has.
    """
    return min(num_misses, table[min(num_misses, len(table) - 1)]) if table else 0


def estimated_both(dram_bytes_per_s: float, link_bytes_per_s: float) -> float:
    """The rate of CPU and link at once where none is measured."""
    return BOTH_OVER_FASTER * max(dram_bytes_per_s, link_bytes_per_s)


def with_cards(lanes: ExpertLanes, num_links: int) -> ExpertLanes:
    """Return the lanes for ``num_links`` cards that copy at once, each over a link of its own."""
    return replace(lanes, link_bytes_per_s=lanes.link_bytes_per_s * num_links)
