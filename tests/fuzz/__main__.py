"""``python -m tests.fuzz``: as many random files as one likes, and a table of what came of them."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.formats import formats
from tests.fuzz.harness import fuzz


def main() -> int:
    """Run and print; 1 where a parser did what it should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="formats whose name has this in it")
    parser.add_argument("--keep", type=Path, help="write files at fault here")
    chosen = parser.parse_args()
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(
            [each for each in formats() if chosen.only in each.name],
            chosen.inputs,
            chosen.seed,
            Path(folder),
        )
    for name in sorted(report.num_refused | report.num_read):
        print(f"{name}: {report.num_read[name]:,} read, {report.num_refused[name]:,} refused")
    for number, (name, fault, data) in enumerate(report.faults):
        print(f"FAULT {name}: {fault}")
        if chosen.keep is not None:
            chosen.keep.mkdir(parents=True, exist_ok=True)
            (chosen.keep / f"{number}-{name.replace(' ', '-')}").write_bytes(data)
    print(
        f"{report.num_inputs:,} inputs, {len(report.faults)} faults, {time.monotonic() - start_s:.0f} s"
    )
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
