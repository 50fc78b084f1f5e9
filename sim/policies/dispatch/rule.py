"""The rules of compiled code for the misses of a layer: which ones the CPU computes."""

from enum import IntEnum


class Rule(IntEnum):
    """Rules for misses, numbered for compiled code.

    CPU: all run on the CPU. FETCH: all are fetched. CHEAPEST: an expert is fetched if the CPU is
    believed to take longer; CHEAPEST_OR_TIE: or as long. BALANCED: the experts of fewest tokens go
    to the CPU, so many that max(sum on the CPU, sum of copies and GPU runs) is least. THREE_LANES:
    so many that max(CPU, link, GPU) is least, where the GPU's resident work counts and copies
    overlap with runs. SPILL: residents may go to the CPU too, see ``sim/step/rules/spilling.py``.
    """

    CPU = 0
    FETCH = 1
    CHEAPEST = 2
    CHEAPEST_OR_TIE = 3
    BALANCED = 4
    THREE_LANES = 5
    SPILL = 6
