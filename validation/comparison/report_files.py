"""A report as files: JSON with everything, CSV with a line for each run, and Markdown for
readers.
"""

import csv
import io
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwprofiles.text_file import make_folder, write_text
from hwprofiles.units import NS_PER_S
from validation.comparison.rounds import Report

AIMS = "errors are predicted / measured - 1; |error| is over single runs"
COLUMNS = (
    "plan",
    "round",
    "measured_s",
    "plain_s",
    "absolute_s",
    "paired_s",
    "unmatched_fraction",
    "lost_fraction",
)


def host_words() -> str:
    """Name the computer: processor, system, Python and torch, and the accelerator if there is
    one.
    """
    words = [
        platform.machine(),
        platform.system(),
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
    ]
    if torch.cuda.is_available():
        words += [torch.cuda.get_device_name(), f"CUDA {torch.version.cuda}"]
    return ", ".join(words)


def document(report: Report, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole report as JSON data; ``facts`` say what was run on what."""
    chosen = report.plans[0].name
    figures = {
        "kendall_tau": report.kendall_tau,
        "regret_fraction": report.regret_fraction(chosen),
        "is_too_noisy": report.is_too_noisy,
    }
    return {"facts": dict(facts), "chosen": chosen, **figures, **asdict(report)}


def write_report(report: Report, folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Write NAME.json, NAME.csv and NAME.md into the folder.

    Raises InputError if the folder cannot be written to.
    """
    make_folder(folder)
    write_text(json.dumps(document(report, facts), indent=1), folder / f"{name}.json")
    write_text("\n".join(markdown(report, name, facts)) + "\n", folder / f"{name}.md")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    writer.writerows(csv_rows(report))
    write_text(table.getvalue(), folder / f"{name}.csv")


def csv_rows(report: Report) -> Iterator[tuple[object, ...]]:
    """Yield a row for each run, under COLUMNS."""
    for plan in report.plans:
        for number, run in enumerate(plan.runs):
            predicted_s = (
                found.predicted_ns / NS_PER_S for found in (run.plain, run.absolute, run.paired)
            )
            yield (
                plan.name,
                number,
                run.plain.measured_ns / NS_PER_S,
                *predicted_s,
                run.paired.unmatched_fraction,
                run.lost_fraction,
            )


def markdown(report: Report, title: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a heading, the facts, the figures, and a table of plans.

    The first plan is the one that the planner chose.
    """
    yield f"# {title}\n"
    yield from (f"- {key.replace('_', ' ')}: {value}" for key, value in facts.items())
    yield ""
    yield from summary_lines(report)
    yield ""
    yield "| plan | measured s | predicted s | plain % | absolute % | paired % | noise % |"
    yield "|---|---|---|---|---|---|---|"
    for plan in report.plans:
        errors = (
            plan.plain_fraction,
            plan.absolute_fraction,
            plan.paired_fraction,
            plan.noise_fraction,
        )
        percent = " | ".join(f"{100 * error:.2f}" for error in errors)
        yield f"| {plan.name} | {plan.measured_ns / NS_PER_S:.3f} | {plan.predicted_ns / NS_PER_S:.3f} | {percent} |"
    yield ""
    yield f"{AIMS}; predicted is the absolute prediction."


def summary_lines(report: Report) -> Iterator[str]:
    """Yield the figures over all runs, one a line."""
    if report.is_too_noisy:
        yield "- **this machine is too noisy to compare with**: what follows says little"
    for name in ("plain", "absolute", "paired", "noise"):
        found = getattr(report, name)
        percent = f"median {found.median_fraction * 100:.2f} %, 90th percentile {found.p90_fraction * 100:.2f} %"
        yield f"- |{'noise' if name == 'noise' else name + ' error'}|: {percent}, {found.num_compared} runs"
    for name in ("plain", "absolute", "paired"):
        sizes = [abs(getattr(plan, f"{name}_fraction")) for plan in report.plans]
        median, ninth = np.quantile(sizes, (0.5, 0.9))
        yield f"- |{name} error| of plans, each the median of its runs: median {median * 100:.2f} %, 90th percentile {ninth * 100:.2f} %"
    if report.kendall_tau is not None:
        yield f"- order of plans, predicted against measured: Kendall tau {report.kendall_tau:.2f}"
    chosen = report.plans[0].name
    yield f"- regret of {chosen}: {report.regret_fraction(chosen) * 100:.2f} % slower than the best measured"
    if report.num_preempted:
        yield f"- {report.num_preempted} runs left out: other processes took the cores of their tasks"
    yield f"- calibration runs vary by {report.calibration_variation_fraction * 100:.1f} %"
    yield from (
        f"- {kind}: |error| of single tasks {100 * error:.1f} %, median of medians"
        for kind, error in by_kind(report).items()
    )


def by_kind(report: Report) -> dict[str, float]:
    """Return the |error| of single tasks in the paired prediction, by kind of operation.

    Each figure is the median over runs of a run's median.
    """
    runs = [run.paired.by_kind for plan in report.plans for run in plan.runs]
    found = {}
    for kind in sorted({kind for run in runs for kind in run}):
        medians = sorted(run[kind].median_fraction for run in runs if kind in run)
        found[kind] = medians[len(medians) // 2]
    return found
