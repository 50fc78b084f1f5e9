"""Predictions of runtimes against measured rows: errors, order, coverage, and the constants that
they rest on.
"""

from validation.accuracy.compare import compare
from validation.accuracy.result import (
    AccuracyResult,
    BaselineAccuracy,
    GroupAccuracy,
    PointAccuracy,
    RowAccuracy,
)
from validation.accuracy.rows import MeasuredRow, read_rows

__all__ = [
    "AccuracyResult",
    "BaselineAccuracy",
    "GroupAccuracy",
    "MeasuredRow",
    "PointAccuracy",
    "RowAccuracy",
    "compare",
    "read_rows",
]
