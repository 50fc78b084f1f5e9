"""Compare published tables with the simulator, cell by cell."""

from validation.published.claim import Claim, Verdict, claims_of
from validation.published.library import reproduce, reproduction_names
from validation.published.overview import ALL, Overview, overview, write_overview
from validation.published.reproduction import Cell, Reproduction, SummaryLine, Table
from validation.published.writing import write

__all__ = [
    "ALL",
    "Cell",
    "Claim",
    "Overview",
    "Reproduction",
    "SummaryLine",
    "Table",
    "Verdict",
    "claims_of",
    "overview",
    "reproduce",
    "reproduction_names",
    "write",
    "write_overview",
]
