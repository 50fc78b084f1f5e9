"""Making a machine from a line of parts: ``RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800``."""

from hwprofiles.parts.build import comes_with_memory, machine_of_line
from hwprofiles.parts.cpu_numbers import all_core_clock
from hwprofiles.parts.cpu_part import CpuPart
from hwprofiles.parts.detect import detected_machine
from hwprofiles.parts.gpu_part import GpuPart
from hwprofiles.parts.library import PartsLibrary, parts_library
from hwprofiles.parts.line import GRAMMAR, is_one_part, nearest_part

__all__ = [
    "GRAMMAR",
    "CpuPart",
    "GpuPart",
    "PartsLibrary",
    "all_core_clock",
    "comes_with_memory",
    "detected_machine",
    "is_one_part",
    "machine_of_line",
    "nearest_part",
    "parts_library",
]
