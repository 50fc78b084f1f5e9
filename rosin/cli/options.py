"""The options that every command takes, and those that several share, written once."""

from typing import Annotated

import typer

JsonOption = Annotated[str | None, typer.Option("--json", metavar="FILE|-", help="Write the result as JSON to a file, or to stdout (-).")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of everything random.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print no tables and no warnings.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a number of the machine, such as link.h2d.bytes_per_s=50e9; may be repeated."),
]
