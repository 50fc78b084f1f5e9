"""Published tables set against the simulator, cell by cell."""

from validation.published.library import reproduce, reproduction_names
from validation.published.reproduction import Cell, Comparison, Reproduction, SummaryLine, Table
from validation.published.writing import write

__all__ = [
    "Cell",
    "Comparison",
    "Reproduction",
    "SummaryLine",
    "Table",
    "reproduce",
    "reproduction_names",
    "write",
]
