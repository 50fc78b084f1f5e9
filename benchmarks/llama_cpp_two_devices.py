"""Two devices by loopback RPC: placements predicted and run for real, a plan among them.

    python -m benchmarks.llama_cpp_two_devices --binary FOLDER [--rounds N] [--step N]
        -o out/two-devices

FOLDER has llama-bench and ggml-rpc-server. Laws of other shapes (llama_cpp_loopback.py) predict
shape a with ``-ncmoe`` from 0 to all layers. The same laws predict shapes d and f likewise. The
plan of ``rosin plan --runtime llama.cpp`` for shape a has room on the device for half of the
experts. The plan runs beside twelve other placements. *Regret* is how much slower the plan ran than
the fastest of the thirteen.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from benchmarks.llama_cpp_here import TESTED
from benchmarks.llama_cpp_loopback import (
    FORMAT,
    PREDICTED,
    Run,
    ServerCosts,
    device_arguments,
    fitted_host,
    law_runs,
    model_file,
    samples_of,
    session_of,
)
from benchmarks.loopback_rivals import planned_arguments, rival_arguments
from sim.runtimes import RuntimeHost
from validation.backend.cores import keep_to, own_cores
from validation.runtimes.llama_cpp import Case, Sample, timed
from validation.runtimes.llama_cpp.bench import BenchSession
from validation.runtimes.llama_cpp.rpc import loopback_devices

NUM_BESIDE_PLAN = 3
"""Number of rivals, the fastest ones, that run again beside the plan."""

OWN = Case(shape=PREDICTED, formats=FORMAT)
OTHERS = tuple(Case(shape=shape, formats=FORMAT) for shape in TESTED[1:])
"""Other shapes that no law is fitted on."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One placement of a predicted shape: milliseconds a token, and the noise of measuring."""

    name: str
    measured_ms: float
    predicted_ms: float
    noise_fraction: float

    @property
    def error(self) -> float:
        """The predicted time over the measured one, less one."""
        return self.predicted_ms / self.measured_ms - 1


def main() -> None:
    """Run all files in turn, fit the laws, make the plan, run the plan, and write the tables.

    The plan depends on the laws, so it runs in later rounds of its own. The fastest rivals run
    again beside it; their second times are the ones that the plan is compared with.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    # Both programs take turns, so one core serves them: on two, what a message costs in the kernel
    # hangs on which cores they are put on, and the same placement took 6.5 ms or 7.6.
    keep_to(own_cores()[-1:])
    with tempfile.TemporaryDirectory(prefix="rosin-") as name, ExitStack() as stack:
        devices = stack.enter_context(loopback_devices(asked.binary, 1))
        folder = Path(name)
        laws = law_runs()
        swept = _swept(OWN, asked.step)
        others = {
            f"{case.shape.name}, {count}": run
            for case in OTHERS
            for count, run in _swept(case, max(1, case.shape.num_layers // 4)).items()
        }
        rivals = _rivals(model_file(folder, OWN))
        sessions = {
            run: session_of(run, asked.binary, folder, devices)
            for run in dict.fromkeys(
                (*laws.all, *swept.values(), *others.values(), *rivals.values())
            )
        }
        samples = samples_of(sessions, asked.rounds)
        host, costs = fitted_host(laws, sessions, samples)
        plan = Run(
            case=OWN,
            arguments=planned_arguments(model_file(folder, OWN), host),
            has_device=True,
        )
        beside = {plan: session_of(plan, asked.binary, folder, devices)}
        fastest = sorted(rivals.values(), key=lambda run: timed(samples[run]).token_s)
        beside |= {run: sessions[run] for run in fastest[:NUM_BESIDE_PLAN]}
        again = samples_of(beside, asked.rounds)
        sessions |= beside
        table = _rows(swept, sessions, samples, (host, costs))
        beyond = _rows(others, sessions, samples, (host, costs))
        chosen = _rows({"the plan": plan, **rivals}, sessions, {**samples, **again}, (host, costs))
    asked.o.mkdir(parents=True, exist_ok=True)
    found = {"sweep": table, "others": beyond, "placements": chosen}
    rows = {name: [asdict(row) for row in own] for name, own in found.items()}
    (asked.o / "rows.json").write_text(json.dumps(rows, indent=1))
    tables = page("`-ncmoe`", table), page("shape, `-ncmoe`", beyond), page("placement", chosen)
    text = "\n".join(tables) + _regret(chosen)
    (asked.o / "page.md").write_text(text)
    print(text)


def _swept(case: Case, step: int) -> dict[str, Run]:
    """Return runs of the case with ``-ncmoe`` from 0 to all layers, by that number."""
    return {
        str(count): Run(case=case, arguments=device_arguments(f"-ncmoe {count}"), has_device=True)
        for count in range(0, case.shape.num_layers + 1, step)
    }


def _rivals(path: Path) -> dict[str, Run]:
    return {
        name: Run(case=OWN, arguments=arguments, has_device=True)
        for name, arguments in rival_arguments(path).items()
    }


def _rows(
    runs: Mapping[str, Run],
    sessions: Mapping[Run, BenchSession],
    samples: Mapping[Run, Sequence[Sample]],
    priced: tuple[RuntimeHost, ServerCosts],
) -> list[Row]:
    host, costs = priced
    rows = []
    for name, run in runs.items():
        took = timed(samples[run])
        rows.append(
            Row(
                name=name,
                measured_ms=1e3 * took.token_s,
                predicted_ms=1e3 * costs.token_s(run, sessions[run], host),
                noise_fraction=took.noise_fraction,
            )
        )
    return rows


def page(what: str, rows: Sequence[Row]) -> str:
    """Return the lines of a table in Markdown: the rows, and their errors."""
    lines = [
        f"| {what} | measured ms | predicted | error | noise |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row.name} | {row.measured_ms:.2f} | {row.predicted_ms:.2f} | {row.error:+.1%} "
            f"| {row.noise_fraction:.1%} |"
        )
    measured = [row.measured_ms for row in rows]
    tau = kendalltau(measured, [row.predicted_ms for row in rows]).statistic
    sizes = np.abs([row.error for row in rows])
    lines += ["", f"median {np.median(sizes):.1%}, worst {sizes.max():.1%}, order tau {tau:.2f}"]
    return "\n".join(lines) + "\n"


def _regret(rows: Sequence[Row]) -> str:
    """Return a line with the regret: how much slower the plan (row 0) ran than the fastest."""
    best = min(rows, key=lambda row: row.measured_ms)
    regret = rows[0].measured_ms / best.measured_ms - 1
    return f"\nregret of the plan {regret:.1%}: fastest was {best.name}\n"


if __name__ == "__main__":
    main()
