"""Durations in whole numbers: sums over steps of the largest of several straight lines, and
pipelines.
"""

from collections.abc import Sequence

Line = tuple[int, int]
"""A straight line over steps: its value at step 0, and what each step adds."""


def sum_of_max(lines: Sequence[Line], num_steps: int) -> int:
    """The sum over steps 0 … num_steps − 1 of the largest line.

    Time grows with the number of lines, not of steps.
    """
    total = step = 0
    while step < num_steps:
        # Of lines that are equal now, the steepest is the largest from the next step on.
        value, slope = max((start + rise * step, rise) for start, rise in lines)
        stop = num_steps
        for start, rise in lines:
            if rise > slope:  # it will overtake, from the first step on at which it is larger
                stop = min(stop, step + (value - start - rise * step) // (rise - slope) + 1)
        count = stop - step
        # The sum of an arithmetic series; count · (count − 1) is even, so nothing is rounded.
        total += count * value + slope * (count * (count - 1) // 2)
        step = stop
    return total


def pipelined(works: Sequence[int], num_stages: int) -> int:
    """Return the time of ``works`` that run as a pipeline over ``num_stages`` equal stages.

    In each stage the works follow each other; different works run in different stages at once. With
    one stage, the time is the sum of the works.
    """
    # The first stage passes through all works; each later one ends one longest work after it.
    return (sum(works) + (num_stages - 1) * max(works)) // num_stages
