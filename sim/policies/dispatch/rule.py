"""Which experts that a layer misses the CPU computes: the rules that compiled code knows."""

from enum import IntEnum


class Rule(IntEnum):
    """The rules, numbered for compiled code.

    CHEAPEST: fetched if the CPU is believed dearer (strictly); CHEAPEST_OR_TIE: or as dear.
    BALANCED: the fewest tokens to the CPU, so many that max(sum on the CPU, sum of fetches) is
    least. THREE_LANES: the same with the GPU's resident work in the second lane, copies and GPU
    runs overlapping. SPILL: residents may go to the CPU too, see ``spilling``.
    """

    CPU = 0
    FETCH = 1
    CHEAPEST = 2
    CHEAPEST_OR_TIE = 3
    BALANCED = 4
    THREE_LANES = 5
    SPILL = 6
