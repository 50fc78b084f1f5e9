"""Studies whose points are all planned: the most memory that the command, and its largest worker,
take.

python -m tests.rosin.planned_studies --points 20 100 400
"""

import argparse
import tempfile

from tests.rosin.kept_studies import SCENARIO
from tests.rosin.peaks import Peak, peak_of


def planned(num_points: int, num_workers: int) -> Peak:
    """What a command takes that plans so many points, each for another link."""
    vary = f"link.h2d.bytes_per_s=5e9:60e9:{num_points}"
    with tempfile.TemporaryDirectory() as folder:
        words = ("--vary", vary, "--workers", str(num_workers), "-o", folder)
        return peak_of("whatif", *SCENARIO, *words)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[20, 100, 400])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    for num_workers in asked.workers:
        for num_points in asked.points:
            peak = planned(num_points, num_workers)
            print(
                f"{num_points:,} points, {num_workers} workers: {peak.own_mib:,.0f} MiB, "
                f"the largest worker {peak.worker_mib:,.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    _main()
