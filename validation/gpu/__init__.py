"""Validate plans on the machine at hand, in one command and a given time: python -m validation.gpu.

Importing this package imports torch.
"""

from validation.gpu.case_models import CaseModel, case_models
from validation.gpu.stages import main, run
from validation.gpu.summary import CaseReport, write_summary

__all__ = ["CaseModel", "CaseReport", "case_models", "main", "run", "write_summary"]
