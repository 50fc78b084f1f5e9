"""Fit a machine file to a few real runs. Importing this package imports torch."""

from validation.calibrating.calibrate import Calibration, calibrate
from validation.calibrating.fit import Fit, HeldOut, Scales, fit, hold_out
from validation.calibrating.observed_run import CostPart, ObservedRun, observed_run

__all__ = [
    "Calibration",
    "CostPart",
    "Fit",
    "HeldOut",
    "ObservedRun",
    "Scales",
    "calibrate",
    "fit",
    "hold_out",
    "observed_run",
]
