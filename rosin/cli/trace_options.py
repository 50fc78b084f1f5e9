"""Options of every command that takes a trace of requests: what its numbers count in."""

from typing import Annotated

import typer

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
