"""Studies whose points are all kept: what the command takes to show them, without planning any.

python -m tests.rosin.kept_studies --points 20 2000 10000
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from planner.study.axes import parse_axes
from planner.study.outcome import RIVAL_FIGURES, Outcome
from planner.study.store import open_store
from planner.study.study import Study
from rosin.version import __version__
from sim.policies import POLICIES
from tests.planner.studies import BASE
from tests.rosin.test_cli_whatif import TINY

SCENARIO = TINY[1:]
BYTES_PER_KIB = 1024
KIB_PER_MIB = 1024


def fill(folder: Path, vary: tuple[str, ...], outcome_of: Callable[[int], Outcome]) -> None:
    """Keep an outcome for every point of that study in a folder, as the command would."""
    study = Study(base=BASE, axes=parse_axes(vary), objective="throughput", version=__version__)
    keys = study.keys()
    with open_store(folder / "study.sqlite", keys.identity(study.base)) as store:
        for place, point in enumerate(study.points()):
            store.add(keys.key(point.setting), point.setting, outcome_of(place))


def made_outcome(place: int) -> Outcome:
    """An outcome as large as one that is planned: 15 metrics, and every named system."""
    time_s = 1.0 + (place * 7919 % 1000) / 3000.0
    metrics: dict[str, int | float] = {
        f"figure_{number}": time_s / number for number in range(1, 9)
    }
    metrics |= {"ttft_s": time_s / 2, "tpot_s": time_s / 3, "end_to_end_s": time_s}
    metrics |= {"output_tokens_per_s": 2.0 / time_s, "h2d_bytes": 28_098_918_400 + place}
    return Outcome(
        is_feasible=True,
        policy=f"policy-{place * 31 // 700 % 5}",
        metrics=metrics,
        bounds={"static_bound_s": time_s / 1.1, "clairvoyant_bound_s": None},
        binding_resource="cpu",
        weakest={"kind": "assumed", "source": "made for a test", "date": "2026-11"},
        timeline_digest=f"{place:016x}",
        machine_price_usd=1000.0 + place,
        rivals={
            name: dict.fromkeys(RIVAL_FIGURES, time_s * (1 + number))
            for number, name in enumerate(POLICIES)
        },
    )


def shown_mib(folder: Path, vary: tuple[str, ...], *more: str) -> float:
    """The peak of a process that shows a study whose points are all kept."""
    words = [word for text in vary for word in ("--vary", text)]
    command = [sys.executable, "-m", "rosin", "whatif", *SCENARIO, *words, *more]
    measured = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    found = subprocess.run(
        [sys.executable, "-c", measured, *command, "--workers", "1", "-o", str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    return int(found.stdout) / KIB_PER_MIB


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[20, 400, 2000, 10_000])
    for number in parser.parse_args().points:
        vary = (f"link.h2d.bytes_per_s=5e9:60e9:{number}",)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            fill(folder, vary, made_outcome)
            peak = shown_mib(folder, vary, "--json", str(folder / "whatif.json"))
            print(f"{number:,} points: {peak:,.0f} MiB", flush=True)


if __name__ == "__main__":
    _main()
