"""`rosin export`: a plan in the words of a real engine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rosin.cli.options import JsonOption, QuietOption, SeedOption
from rosin.cli.output import Output

TargetOption = Annotated[
    str, typer.Option("--to", metavar="ENGINE", help="For which engine: lmcache or vllm.")
]
TextFileOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Write it here; otherwise print it.",
        show_default=False,
    ),
]


def export(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A file of KV tiers (rosin-kv/1).")],
    to: TargetOption,
    output_file: TextFileOption = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Write a plan as the configuration of a real engine."""
    from hwprofiles import unknown_name
    from hwprofiles.text_file import check_target, write_text
    from planner.export.kv import KV_EXPORTERS
    from planner.serving.kv_tiers import load_kv_tiers

    if to not in KV_EXPORTERS:
        raise unknown_name("engine", to, KV_EXPORTERS)
    if output_file is not None:
        check_target(output_file)
    output = Output(json=json, seed=seed, quiet=quiet)
    text = KV_EXPORTERS[to](load_kv_tiers(plan))
    if output_file is not None:
        write_text(text, output_file)
    path = None if output_file is None else str(output_file)
    output.emit({"engine": to, "text": text, "path": path}, ())
    if path is None and output.has_tables:
        sys.stdout.write(
            text
        )  # as it is: whoever copies it wants no lines broken at the terminal's width
