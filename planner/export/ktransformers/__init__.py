"""What KTransformers is started with."""

from planner.export.ktransformers.arguments import kt_words
from planner.export.ktransformers.forms import FORMS, arguments_in

__all__ = ["FORMS", "arguments_in", "kt_words"]
