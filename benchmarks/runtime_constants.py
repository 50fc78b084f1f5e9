"""Fit the constants of runtimes on measured rows and write them where they ship.

    python benchmarks/runtime_constants.py ROWS.csv…

The benchmark writes three things into sim/runtimes/constants.yaml: values, their spreads over fits
without one machine, and how far ranges reach. Meanings, priors and sources stay as they are. The
printed errors of each file's rows are those with each machine left out of the fit that predicts it.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hwprofiles import load_machine
from sim.runtimes import RuntimeHost, runtime_host
from validation.accuracy import AccuracyResult, RowAccuracy, compare, read_rows
from validation.accuracy.errors import median, order, relative_errors, tail

FILE = Path(__file__).resolve().parents[1] / "sim" / "runtimes" / "constants.yaml"


@cache
def host_of(line: str) -> RuntimeHost:
    """The machine that a line of parts, a name or a file stands for."""
    return runtime_host(load_machine(line))


def written(text: str, result: AccuracyResult) -> str:
    """Return the text of the constants file with the values of a result."""
    for name, value in result.constants.items():
        # A constant that no row rests on stays at its prior, but for what rounding adds.
        spread = round(result.constant_spreads[name], 6)
        numbers = f"    value: {value:.4g}\n    spread: {spread:.2g}\n"
        pattern = rf"(?<=^  {name}:\n)    value: .*\n    spread: .*\n"
        text = re.sub(pattern, numbers, text, count=1, flags=re.MULTILINE)
    for phase, reach in result.spreads_that_cover.items():
        pattern = rf"(?<=^  {phase}: )[\d.]+$"
        text = re.sub(pattern, f"{reach:.3g}", text, count=1, flags=re.MULTILINE)
    return text


def lines(name: str, rows: Sequence[RowAccuracy]) -> Iterator[str]:
    """Yield a line of the table for each phase.

    A line has the rows, machines, median error, 90th percentile, and the shares covered and
    ordered.
    """
    for phase in ("decode", "prefill"):
        found = [(row.rig, getattr(row, phase)) for row in rows if not row.is_incomplete]
        points = [(rig, point) for rig, point in found if point is not None]
        rigs = [rig for rig, _ in points]
        predicted = np.array([point.predicted_tokens_per_s for _, point in points])
        measured = np.array([point.measured_tokens_per_s for _, point in points])
        errors = relative_errors(predicted, measured)
        held = [
            point.low_tokens_per_s <= point.measured_tokens_per_s <= point.high_tokens_per_s
            for _, point in points
        ]
        shares = [median(errors), tail(errors), float(np.mean(held))]
        ordered = order(predicted, measured, rigs)
        cells = [f"{100 * share:.1f} %" for share in [*shares, 0.0 if ordered is None else ordered]]
        texts = [phase, name, str(len(points)), str(len(set(rigs))), *cells]
        yield f"| {' | '.join(texts)} |"


def main() -> None:
    """Fit the constants on all rows of the named files, write them, and print the errors."""
    files = {path: read_rows(Path(path)) for path in sys.argv[1:]}
    rows = [row for own in files.values() for row in own]
    result = compare(rows, host_of, leave_one_rig_out=True)
    FILE.write_text(written(FILE.read_text(encoding="utf-8"), result), encoding="utf-8")
    print("| phase | file | rows | machines | median | 90th | covered | ordered |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for path, own in files.items():
        ids = {row.id for row in own}
        kept = [row for row in result.rows if row.id in ids]
        print(*lines(Path(path).name, kept), sep="\n")


if __name__ == "__main__":
    main()
