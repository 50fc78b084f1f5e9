"""The device map that accelerate reads."""

from planner.export.accelerate.forms import FORMS, arguments_in, device_map_words

__all__ = ["FORMS", "arguments_in", "device_map_words"]
