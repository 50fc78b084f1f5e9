"""All cases of a run on one page and in one table."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwprofiles.text_file import write_text
from hwprofiles.units import NS_PER_S
from validation.comparison.compare import ErrorSummary, summary_of
from validation.comparison.rounds import Report

COLUMNS = (
    "case",
    "plan",
    "measured_s",
    "predicted_s",
    "plain_fraction",
    "absolute_fraction",
    "paired_fraction",
    "noise_fraction",
    "runs",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReport:
    """One model in one budget; the report's first plan is the planned one.

    ``left_out`` has the reason for each rival that did not run.
    """

    name: str
    report: Report
    left_out: Mapping[str, str]

    @property
    def file_name(self) -> str:
        """The name in characters that any file system takes."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")

    @property
    def regret_fraction(self) -> float:
        """How much slower the plan measured than the best that was run."""
        return self.report.regret_fraction(self.report.plans[0].name)

    @property
    def line(self) -> str:
        """The result in one line."""
        plan = self.report.plans[0]
        found = self.report.paired
        return (
            f"{self.name}: {plan.name} measured {plan.measured_ns / NS_PER_S:.3f} s, regret {self.regret_fraction:.1%}; "
            f"|paired error| median {found.median_fraction:.1%}, 90th percentile {found.p90_fraction:.1%}, {found.num_compared} runs"
        )


def write_summary(cases: Sequence[CaseReport], folder: Path, facts: Mapping[str, object]) -> None:
    """Write summary.md and summary.csv into the folder, in place of former ones."""
    write_text("\n".join(_markdown(cases, facts)) + "\n", folder / "summary.md")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    writer.writerows(_rows(cases))
    write_text(table.getvalue(), folder / "summary.csv")


def errors_of(cases: Sequence[CaseReport], which: str) -> ErrorSummary:
    """|error| over all runs of all cases; ``which`` is plain, absolute or paired."""
    runs = [run for case in cases for plan in case.report.plans for run in plan.runs]
    return summary_of(np.array([getattr(run, which).error_fraction for run in runs]))


def _rows(cases: Sequence[CaseReport]) -> Iterator[tuple[object, ...]]:
    for case in cases:
        for plan in case.report.plans:
            times_s = plan.measured_ns / NS_PER_S, plan.predicted_ns / NS_PER_S
            errors = plan.plain_fraction, plan.absolute_fraction, plan.paired_fraction
            yield case.name, plan.name, *times_s, *errors, plan.noise_fraction, len(plan.runs)


def _markdown(cases: Sequence[CaseReport], facts: Mapping[str, object]) -> Iterator[str]:
    yield "# Predicted against measured\n"
    yield from (f"- {key}: {value}" for key, value in facts.items())
    for which in ("paired", "absolute", "plain") if cases else ():
        found = errors_of(cases, which)
        percent = f"median {100 * found.median_fraction:.1f} %, 90th percentile {100 * found.p90_fraction:.1f} %"
        yield f"- |{which} error| over {found.num_compared} runs: {percent}"
    yield "\n| case | plan | measured s | predicted s | plain % | absolute % | paired % | noise % | runs |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, plan, measured_s, predicted_s, *fractions, runs in _rows(cases):
        percent = " | ".join(f"{100 * fraction:.1f}" for fraction in fractions)  # type: ignore[operator]
        yield f"| {name} | {plan} | {measured_s:.3f} | {predicted_s:.3f} | {percent} | {runs} |"
    yield ""
    for case in cases:
        yield f"- {case.name}: regret of the plan {case.regret_fraction:.1%}, {_variation(case)}"
        yield from (
            f"  - not run: {name}: {reason.removeprefix(f'{name}: ')}"
            for name, reason in case.left_out.items()
        )
    yield "\nErrors are predicted / measured - 1, medians over the runs of a plan; predicted is the absolute prediction."


def _variation(case: CaseReport) -> str:
    varies = f"calibration runs vary by {case.report.calibration_variation_fraction:.1%}"
    return f"{varies}, **too noisy to say much**" if case.report.is_too_noisy else varies
