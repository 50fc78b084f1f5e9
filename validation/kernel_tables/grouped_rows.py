"""Measured calls for the experts of one layer, in one form for tables of any origin."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from hwprofiles.units import NS_PER_S

# mxfp4 has 8 bits of scale for 32 weights of 4 bits, nvfp4 for 16.
WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0, "int4": 0.5, "mxfp4": 0.53125, "nvfp4": 0.5625}
"""Least bytes a weight; those of mxfp4 and nvfp4 include the scales that their formats fix."""


SLOW_RATIO = 2.0
"""Ratio to another kernel's time from which a kernel is not taken as the card's limit.

Assumed: vLLM 0.18 to 0.22 take 2.6 to 3.2 times as long in int4 on every card, others at most 1.9
times.
"""

LEAST_SHARED = 20
"""Fewest calls that two frameworks must both have measured for their median to count.

One shape has about as many calls.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertShape:
    """What distinguishes the experts of models: dimensions, number of experts, and top-k."""

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
    """One measured call for a layer's experts over ``tokens`` tokens, dealt out evenly."""

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
        """Least rate at which the call read its weights."""
        num_bytes = self.num_activated * self.shape.num_weights * WEIGHT_BYTES[self.dtype]
        return num_bytes / self.ns * NS_PER_S


_Call = tuple[str, ExpertShape, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedRows:
    """The rows of one system with their source, and what was passed over, in words."""

    rows: tuple[GroupedRow, ...]
    source: str
    date: str
    passed_over: tuple[str, ...] = ()


def num_activated(tokens: int, num_experts: int, top_k: int) -> int:
    """Return how many experts run if tokens are dealt out evenly."""
    return min(num_experts, tokens * top_k)


def without_slow_kernels(
    rows: Iterable[GroupedRow],
) -> tuple[tuple[GroupedRow, ...], tuple[str, ...]]:
    """Return the rows without frameworks whose kernel for a format is slow, and the slow ones in
    words.

    If such a framework alone measured a shape, its rows would show its kernel, not the card.
    """
    all_rows = tuple(rows)
    slow = _slow_kernels(all_rows)
    kept = tuple(row for row in all_rows if (row.dtype, row.framework) not in slow)
    return kept, tuple(f"{framework} in {dtype}" for dtype, framework in sorted(slow))


def _slow_kernels(rows: Iterable[GroupedRow]) -> set[tuple[str, str]]:
    """Return formats and frameworks whose kernel takes over SLOW_RATIO times as long as others.

    The ratio to the fastest other framework is the median over calls that another measured, too.
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
