"""The units of a trace's numbers, where its format does not state them or a file differs
from it.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from hwprofiles import InputError, closest
from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_TOKENS
from hwprofiles.units import NS_PER_MS, NS_PER_S, NS_PER_US

TIME_UNITS: Mapping[str, int] = {"s": NS_PER_S, "ms": NS_PER_MS, "us": NS_PER_US, "ns": 1}
"""Nanoseconds of each unit."""


class TraceUnits(FilePart):
    """``block_tokens`` of a hash and the unit of times; None stands for what the format says."""

    block_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS, strict=True)] | None = None
    time_unit: Literal["s", "ms", "us", "ns"] | None = None

    @property
    def stated(self) -> frozenset[str]:
        """Names of the units that are stated."""
        return frozenset(self.model_dump(exclude_none=True))

    def ns_per_time(self, own: int) -> int:
        """Return the ns of one unit of time: the stated one, or else ``own``, the format's."""
        return own if self.time_unit is None else TIME_UNITS[self.time_unit]

    def tokens_per_block(self, own: int) -> int:
        """Return the tokens of a block: the stated number, or else ``own``, the format's."""
        return own if self.block_tokens is None else self.block_tokens


AS_FORMAT = TraceUnits()
"""No unit is stated: all are those of the format."""


def trace_units(block_tokens: int | None, time_unit: str | None) -> TraceUnits:
    """Return the units that were typed. Raises InputError for an unknown unit of time."""
    if time_unit is not None and time_unit not in TIME_UNITS:
        raise InputError(f"no unit of time {time_unit!r}{closest(time_unit, TIME_UNITS)}")
    return TraceUnits.model_validate({"block_tokens": block_tokens, "time_unit": time_unit})
