"""Options of every command that takes a trace of requests: what its numbers count in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.option_groups import OptionGroup

if TYPE_CHECKING:
    from sim.workload.requests import TraceUnits

TraceBlockOption = Annotated[
    int | None,
    typer.Option(
        "--trace-block-tokens",
        min=1,
        metavar="N",
        help="Tokens that a hash of the trace stands for, if not what its format says.",
        show_default=False,
    ),
]
TraceTimeOption = Annotated[
    str | None,
    typer.Option(
        "--trace-time-unit",
        metavar="s|ms|us|ns",
        help="What the trace's times count, if not what its format says.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions(OptionGroup):
    """What a trace's numbers count in, as typed."""

    trace_block_tokens: TraceBlockOption = None
    trace_time_unit: TraceTimeOption = None

    def units(self) -> "TraceUnits":
        """Return the units. Raises InputError."""
        from sim.workload.requests import trace_units

        return trace_units(self.trace_block_tokens, self.trace_time_unit)
