"""The Python API: the names that ``import rosin`` offers. Importing it loads nothing heavy."""

from rosin.api.compared import Compared, compare
from rosin.api.found_plan import FoundPlan, plan
from rosin.api.named import machine, model
from rosin.api.result import NothingFits, Result
from rosin.api.served import Served, ServingValues, serve
from rosin.api.setting import SettingValues
from rosin.api.simulated import Simulated, simulate
from rosin.api.studied import Studied, study
from rosin.api.validated import Validated, validate

__all__ = [
    "Compared",
    "FoundPlan",
    "NothingFits",
    "Result",
    "Served",
    "ServingValues",
    "SettingValues",
    "Simulated",
    "Studied",
    "Validated",
    "compare",
    "machine",
    "model",
    "plan",
    "serve",
    "simulate",
    "study",
    "validate",
]
