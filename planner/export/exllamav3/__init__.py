"""The arguments that exllamav3 is started with."""

from planner.export.exllamav3.forms import FORMS, arguments_in, exl3_words

__all__ = ["FORMS", "arguments_in", "exl3_words"]
