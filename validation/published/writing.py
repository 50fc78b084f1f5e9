"""Write a reproduction as files: cells in CSV, tables and verdicts in Markdown, and a figure."""

import csv
import io
from pathlib import Path

from hwprofiles.text_file import make_folder, write_bytes
from validation.published.claim import reach
from validation.published.figure import figure_png
from validation.published.reproduction import Cell, Reproduction, Table
from validation.published.sensitivity_figure import sensitivity_png

_COLUMNS = (
    "table,environment,system,input_tokens,output_tokens,quantity,unit,"
    "published,simulated,error_fraction,is_scored,comparisons,mark,source,note"
)


MAX_COLUMNS = 6
"""Most other readings that a table has columns for.

With more, a table has their range; the CSV has each of them.
"""
RANGE = "readings"


def write(reproduction: Reproduction, folder: Path) -> tuple[Path, ...]:
    """Write NAME.csv, NAME.md, NAME.png and any NAME-sensitivity.png into the folder.

    The folder is made if absent, and each file is written whole. Return their paths. Raises
    InputError if the folder cannot be written.
    """
    contents = {
        ".csv": csv_text(reproduction).encode(),
        ".md": markdown_text(reproduction).encode(),
        ".png": figure_png(reproduction),
    }
    if reproduction.panels:
        contents["-sensitivity.png"] = sensitivity_png(reproduction)
    make_folder(folder)
    paths = {
        folder / f"{reproduction.name}{suffix}": content for suffix, content in contents.items()
    }
    # All contents are made before the first file is written, so an error leaves none behind.
    for path, content in paths.items():
        write_bytes(content, path)
    return tuple(paths)


def csv_text(reproduction: Reproduction) -> str:
    """Return one line for each cell, with its table, source and notes; None is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS.split(","))
    for table in reproduction.tables:
        for cell in table.cells:
            others = "; ".join(f"{label}={found:.4g}" for label, found in cell.comparisons.items())
            where = [
                table.name,
                cell.environment,
                cell.system,
                cell.input_tokens,
                cell.output_tokens,
                cell.quantity,
                cell.unit,
            ]
            figures = [
                cell.published,
                f"{cell.simulated:.6g}",
                f"{cell.error_fraction:.4f}",
                cell.is_scored,
            ]
            writer.writerow([*where, *figures, others, cell.mark, cell.source, cell.note])
    return out.getvalue()


def markdown_text(reproduction: Reproduction) -> str:
    """Return the page in Markdown: the verdicts, then every table with its assumptions."""
    lines = [
        f"# {reproduction.title}",
        "",
        f"Seed {reproduction.seed}; routing: {reproduction.routing}.",
        "",
    ]
    lines += ["| target | | found | met |", "|---|---|---|---|"]
    verdicts = {True: "yes", False: "**no**", None: "–"}
    lines += [
        f"| {line.name} | {line.target} | {line.found} | {verdicts[line.is_met]} |"
        for line in reproduction.summary
    ]
    for table in reproduction.tables:
        lines += ["", *_table_lines(table)]
    return "\n".join(lines) + "\n"


def _table_lines(table: Table) -> list[str]:
    labels = list(dict.fromkeys(label for cell in table.cells for label in cell.comparisons))
    if len(labels) > MAX_COLUMNS:
        labels = [RANGE]
    heads = [
        "environment",
        "system",
        "input",
        "output",
        "quantity",
        "published",
        "simulated",
        "error",
        *labels,
        "mark",
        "note",
    ]
    lines = [
        f"## {table.title}",
        "",
        table.assumptions,
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    lines += [f"| {' | '.join(_cell_columns(cell, labels))} |" for cell in table.cells]
    lines += [
        "",
        f"Mean absolute error of the scored cells: {table.mean_absolute_error_fraction:.1%}.",
    ]
    return lines


def _cell_columns(cell: Cell, labels: list[str]) -> list[str]:
    others = {label: f"{found:.3g}" for label, found in cell.comparisons.items()}
    low, high = reach(cell)
    others[RANGE] = f"{low:.3g} to {high:.3g} ({1 + len(cell.comparisons)})"
    lengths = [
        "" if count is None else str(count) for count in (cell.input_tokens, cell.output_tokens)
    ]
    figures = [
        f"{cell.published:g} {cell.unit}",
        f"{cell.simulated:.3g}",
        f"{cell.error_fraction:+.1%}",
    ]
    columns = [cell.environment, cell.system, *lengths, cell.quantity, *figures]
    return [*columns, *(others.get(label, "") for label in labels), cell.mark, cell.note]
