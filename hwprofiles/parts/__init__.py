"""A machine out of a line of parts: ``RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800``."""

from hwprofiles.parts.build import machine_of_line
from hwprofiles.parts.detect import detected_machine
from hwprofiles.parts.library import PartsLibrary, parts_library
from hwprofiles.parts.line import GRAMMAR, is_one_part, nearest_part

__all__ = ["GRAMMAR", "PartsLibrary", "detected_machine", "is_one_part", "machine_of_line", "nearest_part", "parts_library"]
