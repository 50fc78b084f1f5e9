"""Fit the constants of runtimes on measured rows and write them where they ship:
python benchmarks/runtime_constants.py ROWS.csv….

Values, their spreads over fits without one machine, and how far ranges reach are written into
sim/runtimes/constants.yaml; meanings, priors and sources stay as they are.
"""

import re
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hwprofiles import load_machine
from sim.runtimes import RuntimeHost, runtime_host
from validation.accuracy import AccuracyResult, compare, read_rows

FILE = Path(__file__).resolve().parents[1] / "sim" / "runtimes" / "constants.yaml"


@cache
def host_of(line: str) -> RuntimeHost:
    """The machine that a line of parts, a name or a file stands for."""
    return runtime_host(load_machine(line))


def written(text: str, result: AccuracyResult) -> str:
    """The file with the values of a result."""
    for name, value in result.constants.items():
        numbers = f"    value: {value:.4g}\n    spread: {result.constant_spreads[name]:.2g}\n"
        pattern = rf"(?<=^  {name}:\n)    value: .*\n    spread: .*\n"
        text = re.sub(pattern, numbers, text, count=1, flags=re.MULTILINE)
    for phase, reach in result.spreads_that_cover.items():
        text = re.sub(
            rf"(?<=^  {phase}: )[\d.]+$", f"{reach:.3g}", text, count=1, flags=re.MULTILINE
        )
    return text


def main() -> None:
    """Fit on all rows of the files named."""
    rows = [row for path in sys.argv[1:] for row in read_rows(Path(path))]
    result = compare(rows, host_of, leave_one_rig_out=True)
    FILE.write_text(written(FILE.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()
