"""Measured rows: a file of published or own measurements of runtimes, read line by line."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hwprofiles import InputError
from hwprofiles.errors import shortened
from hwprofiles.input_file import read_text

NEEDED = ("id", "rig", "machine", "model", "runtime", "args")
NUMBERS = (
    "gpu_expert_layers",
    "prompt_tokens",
    "context_tokens",
    "decode_context_tokens",
    "batch",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """One measured point.

    Text that the file leaves empty is empty here; numbers that it leaves empty are None.
    """

    id: str
    rig: str
    machine: str
    model: str
    runtime: str
    args: str
    quantization: str = ""
    bytes_per_weight: str = ""
    assumed: str = ""
    probe: str = ""
    runtime_version: str = ""
    mechanism: str = ""
    source: str = ""
    note: str = ""
    gpu_expert_layers: float | None = None
    prompt_tokens: float | None = None
    context_tokens: float | None = None
    decode_context_tokens: float | None = None
    batch: float | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None


def read_rows(path: Path) -> list[MeasuredRow]:
    """Every row of a CSV file.

    Raises InputError, one line, for a missing file or column, a repeated id, or a wrong number.
    """
    text = read_text(path, "table of measured rows", "CSV")
    reader = csv.DictReader(text.splitlines())
    try:
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: column {missing[0]} is missing; needed: {', '.join(NEEDED)}")
        rows = list(_rows(path, reader))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: broken CSV: {error}") from None
    if not rows:
        raise InputError(f"{path}: no rows; at least one measured row is needed")
    return rows


def _rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[MeasuredRow]:
    seen: set[str] = set()
    # The first line has the names of columns.
    for number, record in enumerate(reader, start=2):
        row = _row(f"{path}:{number}", record)
        if row.id in seen:
            raise InputError(
                f"{path}:{number}: id {shortened(row.id)} stands twice; every row needs its own"
            )
        seen.add(row.id)
        yield row


def _row(where: str, record: Mapping[str, str | None]) -> MeasuredRow:
    known = MeasuredRow.__dataclass_fields__
    texts = {name: (record.get(name) or "").strip() for name in known if name not in NUMBERS}
    if not texts["id"] or not texts["rig"]:
        raise InputError(f"{where}: id and rig must not be empty")
    numbers = {name: _number(where, name, record.get(name)) for name in NUMBERS}
    return MeasuredRow(**texts, **numbers)  # type: ignore[arg-type]


def _number(where: str, name: str, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{where}: {name} {shortened(text)} is no number") from None
    if not 0 <= number < float("inf"):
        raise InputError(f"{where}: {name} {shortened(text)} must be a number of at least 0")
    return number
