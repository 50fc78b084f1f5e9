"""Measuring the computer at hand, as a machine file. Importing this package imports torch."""

from validation.measuring.machine_file import EMULATED, machine_data
from validation.measuring.measure import EFFORTS, Effort, Findings, check_dtypes, measure
from validation.measuring.workplace import Emulation, choose_device

__all__ = [
    "EFFORTS",
    "EMULATED",
    "Effort",
    "Emulation",
    "Findings",
    "check_dtypes",
    "choose_device",
    "machine_data",
    "measure",
]
