"""Compare predictions with measurements side by side. Importing this package imports torch."""

from validation.comparison.compare import ErrorSummary, RunComparison, compare, summary_of
from validation.comparison.lane_costs import LaneCosts, fit_lane_costs
from validation.comparison.lanes_session import time_program_on_lanes
from validation.comparison.plan_validation import PlanValidation, run_again, validate_plan
from validation.comparison.prediction import Prediction, predict
from validation.comparison.rounds import PairedRun, PlanErrors, Report, run_rounds
from validation.comparison.trial import Contender, PlanTrial, prepare

__all__ = [
    "Contender",
    "ErrorSummary",
    "LaneCosts",
    "PairedRun",
    "PlanErrors",
    "PlanTrial",
    "PlanValidation",
    "Prediction",
    "Report",
    "RunComparison",
    "compare",
    "fit_lane_costs",
    "predict",
    "prepare",
    "run_again",
    "run_rounds",
    "summary_of",
    "time_program_on_lanes",
    "validate_plan",
]
