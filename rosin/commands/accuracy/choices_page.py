"""The choices in cases, for a person: what was chosen, what was best, and what the choice loses."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from rosin.report.tables import name_column, number_column, plain_table
from validation.accuracy import AccuracyResult, CaseAccuracy, CaseSummary

SHOWN_CASES = 12


def choices_page(result: AccuracyResult) -> Iterator[RenderableType]:
    """The summary, the cases that lose most, and what could not be predicted. Nothing without cases."""
    if result.case_summary is None:
        return
    yield Text(f"\n{summary_words(result.case_summary)}")
    losing = [case for case in result.cases if round(case.regret_fraction or 0.0, 3)]
    losing.sort(key=lambda case: -(case.regret_fraction or 0.0))
    table = plain_table(
        name_column("case"), name_column("chosen"), name_column("best"), number_column("loses")
    )
    for case in losing[:SHOWN_CASES]:
        table.add_row(case_words(case), case.chosen_arm, case.best_arm, _percent(case))
    if losing:
        yield table
    for case in result.cases:
        if case.regret_fraction is None:
            reason = next(
                (arm.reason for arm in case.arms if arm.reason), "one arm alone is scored"
            )
            yield Text(f"{case_words(case)}: nothing chosen, {reason}")


def summary_words(summary: CaseSummary) -> str:
    """The summary in a sentence."""
    return (
        f"{summary.num_chosen} of {summary.num_cases} cases: the choice is the measured best or within 5 % of it in "
        f"{summary.within_5_percent_fraction:.0%} of all, loses {summary.median_regret_fraction:.1%} in the median "
        f"and {summary.worst_regret_fraction:.1%} at worst"
    )


def case_words(case: CaseAccuracy) -> str:
    """A case with its phase."""
    return f"{case.case}, {case.phase}"


def _percent(case: CaseAccuracy) -> str:
    assert case.regret_fraction is not None
    return f"{100 * case.regret_fraction:.1f} %"
