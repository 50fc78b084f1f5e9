"""The choices in measured cases, for a person: the chosen way, the best way, and the loss."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from rosin.report.tables import name_column, number_column, plain_table
from validation.accuracy import AccuracyResult, CaseAccuracy, CaseSummary

SHOWN_CASES = 12


def choices_page(result: AccuracyResult) -> Iterator[RenderableType]:
    """Yield the summary, the cases that lose most, and the cases in which nothing was chosen.

    Nothing is yielded if no cases were asked for.
    """
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
    """Return the summary as a sentence."""
    return (
        f"{summary.num_chosen} of {summary.num_cases} cases: the choice is the measured best or within 5 % of it in "
        f"{summary.within_5_percent_fraction:.0%} of all, loses {summary.median_regret_fraction:.1%} in the median "
        f"and {summary.worst_regret_fraction:.1%} at worst"
    )


def case_words(case: CaseAccuracy) -> str:
    """Return the name of a case and its phase."""
    return f"{case.case}, {case.phase}"


def _percent(case: CaseAccuracy) -> str:
    assert case.regret_fraction is not None
    return f"{100 * case.regret_fraction:.1f} %"
