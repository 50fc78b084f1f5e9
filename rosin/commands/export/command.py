"""`rosin export`: a plan in the form that a real program reads."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rosin.cli.named_option import named, written
from rosin.cli.output import Output

DEFAULT_FORM = "args"
MASK_FORM = "mask"
PROFILE_FORM = "profile"
FILE_FORMS = {MASK_FORM: "ktransformers", PROFILE_FORM: "llama.cpp"}
"""Forms that write a file of the experts for the GPU, with the program that reads the file.

The flags that name the file are printed.
"""

TargetOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="PROGRAM",
        help="For which program. Plans: llama.cpp and ik_llama.cpp (matrices of experts by layer, "
        "micro-batch, threads, split over GPUs), ktransformers (experts of each layer), vllm "
        "(bytes in host memory), accelerate (layers in host memory), exllamav3 (experts on the CPU). "
        "Files of KV tiers: lmcache, vllm.",
    ),
]
FormOption = Annotated[
    str | None,
    named(
        "--form",
        "FORM",
        "For plans: args (a command, the default), env (variables), bench (llama-bench), "
        "preset (llama-server), mask (ktransformers: a policy's experts as plan.pt, with -o), profile "
        "(llama.cpp with a static expert cache: the same as a CSV, with -o).",
    ),
]
TextFileOption = Annotated[Path | None, written("FILE", "Write it here; otherwise print it.")]


def export(
    *,
    plan: Annotated[
        Path,
        typer.Argument(metavar="PLAN", help="A plan, or a file of KV tiers (rosin-kv/1)."),
    ],
    to: TargetOption,
    form: FormOption = None,
    output_file: TextFileOption = None,
    output: Output,
) -> None:
    """Write a plan as a real program takes it."""
    from hwprofiles.text_file import check_target, write_text

    if output_file is not None:
        check_target(output_file)
    if form in FILE_FORMS:
        text, warnings = _experts(plan, to, form, output_file)
    else:
        text, warnings = _text(plan, to, form)
        if output_file is not None:
            write_text(text, output_file)
    path = None if output_file is None else str(output_file)
    payload = {"engine": to, "text": text, "path": path}
    output.emit(payload, (), warnings=warnings)
    # A file of experts does not say how it is read, so its flags are printed beside the file.
    if (path is None or form in FILE_FORMS) and output.has_tables:
        sys.stdout.write(
            text
        )  # as it is: a user who copies it wants no lines broken at the terminal's width


def _experts(path: Path, to: str, form: str, target: Path | None) -> tuple[str, tuple[str, ...]]:
    """Write a file of experts; return the flags that name the file, and notes for the reader.

    Raises InputError for wrong input.
    """
    from hwprofiles import InputError

    if to != FILE_FORMS[form]:
        raise InputError(f"--form {form} is for {FILE_FORMS[form]} alone, which reads such files")
    if target is None:
        name = "plan.pt" if form == MASK_FORM else "profile.csv"
        raise InputError(f"--form {form} writes a file; say where with -o {name}")
    if form == PROFILE_FORM:
        from rosin.commands.export.profile_text import write_profile

        return write_profile(path, target)
    from rosin.commands.export.mask_text import write_mask

    return write_mask(path, target)


def _text(path: Path, to: str, form: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the text of the export and notes for the reader. Raises InputError for wrong input."""
    from planner.export.runtimes import WRITERS
    from planner.runtimes.plan_file import is_any_plan

    # Some names stand for a program of plans and one of KV tiers, such as vllm: the file decides.
    if to in WRITERS and is_any_plan(path):
        from rosin.commands.export.runtime_text import plan_text

        return plan_text(path, to, form or DEFAULT_FORM)
    return _kv_text(path, to, form), ()


def _kv_text(path: Path, to: str, form: str | None) -> str:
    """Return an engine's configuration for KV tiers. Raises InputError for wrong input."""
    from hwprofiles import InputError, unknown_name
    from hwprofiles.input_file import check_regular, is_there
    from planner.export.kv import KV_EXPORTERS
    from planner.export.runtimes import WRITERS
    from planner.runtimes.plan_file import is_any_plan
    from planner.serving.kv_tiers import load_kv_tiers

    known = tuple(dict.fromkeys((*WRITERS, *KV_EXPORTERS)))
    if to not in known:
        raise unknown_name("program", to, known)
    if not is_there(path):
        raise InputError(f"there is no file {path}")
    if to not in KV_EXPORTERS:
        check_regular(path, "plan file")
        raise InputError(f"{path} is no plan, which --to {to} needs; rosin plan writes one")
    if is_any_plan(path):
        raise InputError(
            f"{path} is a plan, and --to {to} needs a file of KV tiers; rosin kv-plan --kv-file writes one"
        )
    if form is not None:
        raise InputError("--form goes with plans; a file of KV tiers has one form")
    return KV_EXPORTERS[to](load_kv_tiers(path))
