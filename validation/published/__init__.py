"""Published tables set against the simulator, cell by cell."""

from validation.published.library import REPRODUCTIONS, reproduce
from validation.published.reproduction import Cell, Comparison, Reproduction, SummaryLine, Table
from validation.published.writing import write

__all__ = ["REPRODUCTIONS", "Cell", "Comparison", "Reproduction", "SummaryLine", "Table", "reproduce", "write"]
