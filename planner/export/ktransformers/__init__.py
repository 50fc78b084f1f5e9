"""The arguments that KTransformers is started with."""

from planner.export.ktransformers.forms import FORMS, arguments_in, kt_words

__all__ = ["FORMS", "arguments_in", "kt_words"]
