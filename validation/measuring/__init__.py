"""Measure the computer at hand, as a machine file. Importing this package imports torch."""

from validation.measuring.machine_file import EMULATED, machine_data
from validation.measuring.measure import (
    EFFORTS,
    Effort,
    Findings,
    Subject,
    check_dtypes,
    measure,
)
from validation.measuring.stated_facts import with_stated_facts
from validation.measuring.workplace import Emulation, choose_device

__all__ = [
    "EFFORTS",
    "EMULATED",
    "Effort",
    "Emulation",
    "Findings",
    "Subject",
    "check_dtypes",
    "choose_device",
    "machine_data",
    "measure",
    "with_stated_facts",
]
