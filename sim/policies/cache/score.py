"""The scores by which compiled code keeps experts in a cache."""

from enum import IntEnum


class Score(IntEnum):
    """What an expert is worth keeping for. The expert that is worth least leaves first; remaining
    ties go to the lower layer, then the lower expert.
    """

    RECENCY = 0
    FREQUENCY = 1
    RANDOM = 2
    NEXT_USE = 3
    FORECAST_TIMES_VISITS = 4
    FORECAST_BY_DEPTH = 5
    SMOOTHED_GATE = 6
    SELECTIVE_GATE = 7
    """As SMOOTHED_GATE, but a newcomer that is worth no more than any expert held goes through a
    buffer, and is not kept.
    """
