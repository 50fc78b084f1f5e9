"""Options of every command that takes a trace of requests: the units of the trace's numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup

if TYPE_CHECKING:
    from sim.workload.requests import TraceUnits

TraceBlockOption = Annotated[
    int | None,
    named(
        "--trace-block-tokens",
        "N",
        "Tokens that a hash of the trace stands for, if not what its format says.",
        least=1,
    ),
]
TraceTimeOption = Annotated[
    str | None,
    named(
        "--trace-time-unit",
        "s|ms|us|ns",
        "What the trace's times count, if not what its format says.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions(OptionGroup):
    """The units of a trace's numbers, as typed."""

    trace_block_tokens: TraceBlockOption = None
    trace_time_unit: TraceTimeOption = None

    def units(self) -> "TraceUnits":
        """Return the units of the trace. Raises InputError for an unknown unit."""
        from sim.workload.requests import trace_units

        return trace_units(self.trace_block_tokens, self.trace_time_unit)
