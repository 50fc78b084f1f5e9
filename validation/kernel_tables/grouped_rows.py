"""Measured calls for the experts of one layer, as tables of any origin become."""

from collections.abc import Iterable
from dataclasses import dataclass

from hwprofiles.units import NS_PER_S

# mxfp4 has 8 bits of scale for 32 weights of 4 bits, nvfp4 for 16.
WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0, "int4": 0.5, "mxfp4": 0.53125, "nvfp4": 0.5625}
"""Bytes a weight at least; of mxfp4 and nvfp4 with the scales that their formats fix."""


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
        """Of one expert: up, gate and down."""
        return 3 * self.hidden * self.intermediate


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedRow:
    """One call over so many tokens, dealt out evenly."""

    dtype: str
    shape: ExpertShape
    tokens: int
    num_activated: int
    ns: float
    framework: str

    @property
    def tokens_per_expert(self) -> float:
        """Of each activated expert."""
        return self.tokens * self.shape.top_k / self.num_activated

    @property
    def bytes_per_s(self) -> float:
        """The least rate at which its weights were read."""
        num_bytes = self.num_activated * self.shape.num_weights * WEIGHT_BYTES[self.dtype]
        return num_bytes / self.ns * NS_PER_S


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


def fastest(rows: Iterable[GroupedRow]) -> tuple[GroupedRow, ...]:
    """Of the rows of one call, that of the fastest framework."""
    # A slower framework says more of its kernels than of the card.
    best: dict[tuple[str, ExpertShape, int, int], GroupedRow] = {}
    for row in rows:
        key = row.dtype, row.shape, row.tokens, row.num_activated
        if key not in best or row.ns < best[key].ns:
            best[key] = row
    return tuple(best.values())
