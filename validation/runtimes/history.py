"""A local history of runs: rows of the form that ``rosin accuracy`` reads."""

import csv
import io
from dataclasses import asdict
from pathlib import Path

from hwprofiles import InputError, write_text
from hwprofiles.input_file import read_text
from validation.accuracy.rows import MeasuredRow, read_rows

COLUMNS = (
    "id",
    "rig",
    "machine",
    "model",
    "quantization",
    "bytes_per_weight",
    "runtime",
    "runtime_version",
    "args",
    "prompt_tokens",
    "context_tokens",
    "decode_context_tokens",
    "batch",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "source",
    "note",
)
"""Fields of a measured row that a history has; docs/reference/runtimes.md explains each."""


def append_rows(path: Path, rows: list[MeasuredRow]) -> None:
    """Add rows to the file, which is made if there is none.

    Raises InputError if the file is no history, or has one of the ids already.
    """
    text = ""
    if path.exists():
        text = read_text(path, "history", "CSV")
        # Appended to another table, values would stand under the wrong names.
        if text.splitlines()[:1] != [",".join(COLUMNS)]:
            raise InputError(f"{path}: not a history of rosin validate: its first line is another")
        known = {row.id for row in read_rows(path)}
        twice = next((row.id for row in rows if row.id in known), None)
        if twice is not None:
            raise InputError(f"{path}: id {twice!r} stands there already")
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, extrasaction="ignore", lineterminator="\n")
    if not text:
        writer.writeheader()
    for row in rows:
        writer.writerow(asdict(row))
    # The whole file anew: a stop half-way leaves the old one, never half a row.
    write_text(text + buffer.getvalue(), path)
