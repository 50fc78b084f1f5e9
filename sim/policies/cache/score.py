"""What a cache keeps experts for: the scores that compiled code knows."""

from enum import IntEnum


class Score(IntEnum):
    """What an expert is worth keeping for; the least worthy leaves first, ties by layer, then
    expert.
    """

    RECENCY = 0
    FREQUENCY = 1
    RANDOM = 2
    NEXT_USE = 3
    FORECAST_TIMES_VISITS = 4
    FORECAST_BY_DEPTH = 5
    SMOOTHED_GATE = 6
    SELECTIVE_GATE = 7
    """As SMOOTHED_GATE, and what is worth no more than all that is held goes through a buffer, and
    is not kept.
    """
