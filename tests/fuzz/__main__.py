"""``python -m tests.fuzz``: as many random files as one likes, and a table of what came of them."""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.fuzz.harness import Fault, Report, mutant
from tests.fuzz.processes import Campaign, run

SILENCE_S = 60
"""Between two lines of progress."""


def main() -> int:
    """Run and print; 1 where a parser did what it should not."""
    chosen = _options()
    campaign = Campaign(num_inputs=chosen.inputs, seed=chosen.seed, only=chosen.only)
    start_s = time.monotonic()
    last_s = start_s
    num_shown = 0

    def progress(report: Report) -> None:
        nonlocal last_s, num_shown
        # A campaign takes long and may be stopped: a fault is shown, and kept, when it is found.
        _show_faults(report.faults[num_shown:], campaign, chosen.keep)
        num_shown = len(report.faults)
        if time.monotonic() - last_s >= SILENCE_S:
            last_s = time.monotonic()
            print(f"{report.num_inputs:,} inputs, {len(report.faults)} faults so far", flush=True)

    report = run(campaign, chosen.processes, progress)
    _show_faults(report.faults[num_shown:], campaign, chosen.keep)
    for name in sorted(report.num_refused | report.num_read):
        print(f"{name}: {report.num_read[name]:,} read, {report.num_refused[name]:,} refused")
    took_s = time.monotonic() - start_s
    print(f"{report.num_inputs:,} inputs, {len(report.faults)} faults, {took_s:.0f} s")
    return 1 if report.faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="formats whose name has this in it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="write files at fault here")
    return parser.parse_args()


def _show_faults(faults: list[Fault], campaign: Campaign, folder: Path | None) -> None:
    found = campaign.formats() if faults else []
    for fault in faults:
        print(f"FAULT {fault.number} {fault.format_name}: {fault.what}", flush=True)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            each, data = mutant(found, fault.number, campaign.seed)
            name = f"{fault.number}-{fault.format_name.replace(' ', '-')}{each.suffix}"
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
