"""`rosin export`: a plan in the words of a real program."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rosin.cli.options import JsonOption, QuietOption, SeedOption
from rosin.cli.output import Output

DEFAULT_FORM = "args"

TargetOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="PROGRAM",
        help="For which program. Plans: llama.cpp and ik_llama.cpp (matrices of experts by layer, "
        "micro-batch, threads, split over GPUs), ktransformers (experts of each layer), vllm "
        "(bytes in host memory), accelerate (layers in host memory). "
        "Files of KV tiers: lmcache, vllm.",
    ),
]
FormOption = Annotated[
    str | None,
    typer.Option(
        "--form",
        metavar="FORM",
        help="For plans: args (a command, the default), env (variables), bench (llama-bench), "
        "preset (llama-server).",
        show_default=False,
    ),
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
    plan: Annotated[
        Path,
        typer.Argument(metavar="PLAN", help="A plan, or a file of KV tiers (rosin-kv/1)."),
    ],
    to: TargetOption,
    form: FormOption = None,
    output_file: TextFileOption = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Write a plan as a real program takes it."""
    from hwprofiles.text_file import check_target, write_text

    if output_file is not None:
        check_target(output_file)
    output = Output(json=json, seed=seed, quiet=quiet)
    text, warnings = _text(plan, to, form)
    if output_file is not None:
        write_text(text, output_file)
    path = None if output_file is None else str(output_file)
    payload = {"engine": to, "text": text, "path": path}
    output.emit(payload, (), warnings=warnings)
    if path is None and output.has_tables:
        sys.stdout.write(
            text
        )  # as it is: whoever copies it wants no lines broken at the terminal's width


def _text(path: Path, to: str, form: str | None) -> tuple[str, tuple[str, ...]]:
    """The text, and what a reader must know of it. Raises InputError."""
    from hwprofiles import InputError
    from planner.export.runtimes import WRITERS
    from planner.export.streaming import STREAMED
    from planner.runtimes.plan_file import is_any_plan

    if to in WRITERS and is_any_plan(path):
        from rosin.commands.export.runtime_text import plan_text

        return plan_text(path, to, form or DEFAULT_FORM)
    if to in STREAMED and is_any_plan(path):
        from rosin.commands.export.streamed_text import streamed_text

        if form is not None:
            raise InputError(f"--form: {to} has one form")
        return streamed_text(path, to)
    return _kv_text(path, to, form), ()


def _kv_text(path: Path, to: str, form: str | None) -> str:
    """The configuration of an engine for KV tiers. Raises InputError."""
    from hwprofiles import InputError, unknown_name
    from planner.export.kv import KV_EXPORTERS
    from planner.export.runtimes import WRITERS
    from planner.export.streaming import STREAMED
    from planner.serving.kv_tiers import load_kv_tiers

    known = tuple(dict.fromkeys((*KV_EXPORTERS, *WRITERS, *STREAMED)))
    if to not in known:
        raise unknown_name("engine", to, known)
    if to not in KV_EXPORTERS:
        raise InputError(f"{path} is no plan, which --to {to} needs; rosin plan writes one")
    if form is not None:
        raise InputError("--form goes with plans; a file of KV tiers has one form")
    return KV_EXPORTERS[to](load_kv_tiers(path))
