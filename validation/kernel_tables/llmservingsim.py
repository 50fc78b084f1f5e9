"""Read the expert tables of LLMServingSim's profiler (casys-kaist/LLMServingSim, MIT).

Rows have tokens, activated experts and microseconds.
``profiler/perf/<card>/<model>/<format>/tp1/moe.csv`` is of one layer of that model; ``meta.yaml``
above it names model, card, and the version of vLLM.
"""

import csv
from pathlib import Path

import yaml

from hwprofiles import InputError
from hwprofiles.units import NS_PER_US
from sim.model.model import Model
from validation.kernel_tables.grouped_rows import (
    ExpertShape,
    GroupedRow,
    GroupedRows,
    fastest,
    num_activated,
)

_COLUMNS = ("tokens", "activated_experts", "time_us")


def llmservingsim_rows(folder: Path, model: Model) -> GroupedRows:
    """The rows of a profile's folder, of that model's experts in 16 bit.

    Raises InputError for a folder without the table, a table without the columns, or a row that the
    model's numbers of experts rule out.
    """
    path = folder / "tp1" / "moe.csv"
    meta = _meta(folder / "meta.yaml")
    shape = ExpertShape(
        hidden=model.hidden,
        intermediate=model.expert_intermediate,
        num_experts=model.num_experts,
        top_k=model.top_k,
    )
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            missing = set(_COLUMNS) - set(lines.fieldnames or ())
            if missing:
                raise InputError(f"{path}: lacks the columns {', '.join(sorted(missing))}")
            rows = [_row(path, lines.line_num, line, shape, meta) for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"{path}: cannot be read: {problem}") from None
    return GroupedRows(
        rows=fastest(rows),
        source=f"LLMServingSim profiler/perf/{folder.parent.parent.parent.name} (MIT), {meta['model']}, "
        f"vLLM {meta['vllm_version']}, experts by tokens and activated experts",
        date=str(meta.get("profiled_at", "2026"))[:7],
    )


def _meta(path: Path) -> dict[str, str]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise InputError(f"{path}: cannot be read: {str(problem).splitlines()[0]}") from None
    if not isinstance(data, dict) or not {"model", "vllm_version"} <= set(data):
        raise InputError(f"{path}: keys model and vllm_version are missing")
    return data


def _row(
    path: Path, line: int, values: dict[str, str], shape: ExpertShape, meta: dict[str, str]
) -> GroupedRow:
    try:
        tokens, activated = int(values["tokens"]), int(values["activated_experts"])
        ns = float(values["time_us"]) * NS_PER_US
    except (TypeError, ValueError):
        raise InputError(f"{path}:{line}: must be two integers and a number") from None
    most = num_activated(tokens, shape.num_experts, shape.top_k)
    # A table of another model would pass for this one's without a sign.
    if not shape.top_k <= activated <= most or not ns > 0:
        raise InputError(
            f"{path}:{line}: {tokens} tokens of {shape.num_experts} experts, top {shape.top_k}, "
            f"activate {shape.top_k} to {most}, got {activated}; `model` names the model"
        )
    framework = f"vllm {meta['vllm_version']}"
    return GroupedRow(
        dtype="bf16",
        shape=shape,
        tokens=tokens,
        num_activated=activated,
        ns=ns,
        framework=framework,
    )
