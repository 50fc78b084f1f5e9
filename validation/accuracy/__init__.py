"""Compare predictions of runtimes with measured rows: errors, order, coverage, and constants."""

from validation.accuracy.cases import read_cases
from validation.accuracy.choices import choose_in_cases, summary_of
from validation.accuracy.compare import compare
from validation.accuracy.result import (
    AccuracyResult,
    BaselineAccuracy,
    CaseAccuracy,
    CaseArm,
    CaseSummary,
    GroupAccuracy,
    PointAccuracy,
    RowAccuracy,
)
from validation.accuracy.rows import MeasuredRow, read_rows

__all__ = [
    "AccuracyResult",
    "BaselineAccuracy",
    "CaseAccuracy",
    "CaseArm",
    "CaseSummary",
    "GroupAccuracy",
    "MeasuredRow",
    "PointAccuracy",
    "RowAccuracy",
    "choose_in_cases",
    "compare",
    "read_cases",
    "read_rows",
    "summary_of",
]
