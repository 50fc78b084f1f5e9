"""Measured calls for the experts of one layer, as tables of any origin become."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from hwprofiles.units import NS_PER_S

# mxfp4 has 8 bits of scale for 32 weights of 4 bits, nvfp4 for 16.
WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0, "int4": 0.5, "mxfp4": 0.53125, "nvfp4": 0.5625}
"""Bytes a weight at least; of mxfp4 and nvfp4 with the scales that their formats fix."""


SLOW_RATIO = 2.0
"""A kernel that takes that many times as long as another is not the card's limit. Assumed: vLLM 0.18 to
0.22 take 2.6 to 3.2 times as long in int4 on every card, others at most 1.9 times.
"""

LEAST_SHARED = 20
"""The fewest calls that two frameworks must both have measured before their median counts: about
one shape.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertShape:
    """What tells the experts of one model from another's: sizes, how many there are, how many a
    token selects.
    """

    hidden: int
    intermediate: int
    num_experts: int
    top_k: int

    @property
    def num_weights(self) -> int:
        """The weights of one expert: up, gate and down."""
        return 3 * self.hidden * self.intermediate


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedRow:
    """One call over that many tokens, dealt out evenly."""

    dtype: str
    shape: ExpertShape
    tokens: int
    num_activated: int
    ns: float
    framework: str

    @property
    def tokens_per_expert(self) -> float:
        """The tokens of each activated expert."""
        return self.tokens * self.shape.top_k / self.num_activated

    @property
    def bytes_per_s(self) -> float:
        """The least rate at which its weights were read."""
        num_bytes = self.num_activated * self.shape.num_weights * WEIGHT_BYTES[self.dtype]
        return num_bytes / self.ns * NS_PER_S


_Call = tuple[str, ExpertShape, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedRows:
    """The rows of one system with where they are from, and what was passed over, in words."""

    rows: tuple[GroupedRow, ...]
    source: str
    date: str
    passed_over: tuple[str, ...] = ()


def num_activated(tokens: int, num_experts: int, top_k: int) -> int:
    """Experts that run where tokens are dealt out evenly."""
    return min(num_experts, tokens * top_k)


def without_slow_kernels(
    rows: Iterable[GroupedRow],
) -> tuple[tuple[GroupedRow, ...], tuple[str, ...]]:
    """The rows of frameworks whose kernel for a format is not a slow one, and the slow ones in words.

    Where such a framework alone measured a shape, its rows would say of the card what its kernel is.
    """
    all_rows = tuple(rows)
    slow = _slow_kernels(all_rows)
    kept = tuple(row for row in all_rows if (row.dtype, row.framework) not in slow)
    return kept, tuple(f"{framework} in {dtype}" for dtype, framework in sorted(slow))


def _slow_kernels(rows: Iterable[GroupedRow]) -> set[tuple[str, str]]:
    """Formats and frameworks that take SLOW_RATIO times as long as the fastest other framework in
    the median over the calls that another measured too.
    """
    calls: dict[_Call, dict[str, float]] = defaultdict(dict)
    for row in rows:
        times = calls[_call(row)]
        times[row.framework] = min(row.ns, times.get(row.framework, row.ns))
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (dtype, *_), times in calls.items():
        for framework, ns in times.items():
            others = [other for name, other in times.items() if name != framework]
            if others:
                ratios[dtype, framework].append(ns / min(others))
    return {
        key for key, own in ratios.items() if len(own) >= LEAST_SHARED and median(own) > SLOW_RATIO
    }


def fastest(rows: Iterable[GroupedRow]) -> tuple[GroupedRow, ...]:
    """Return the row of the fastest framework for each call."""
    # A slower framework says more of its kernels than of the card.
    best: dict[_Call, GroupedRow] = {}
    for row in rows:
        key = _call(row)
        if key not in best or row.ns < best[key].ns:
            best[key] = row
    return tuple(best.values())


def _call(row: GroupedRow) -> _Call:
    return row.dtype, row.shape, row.tokens, row.num_activated
