"""Projected L-BFGS for smooth functions within bounds, without BLAS.

scipy's calls BLAS on short vectors, whose threads cost many times the work on a machine that does
something else as well.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Function = Callable[[Floats], tuple[float, Floats]]

MEMORY, TRIALS = 8, 12
"""Pairs of steps and gradient changes that are remembered; halvings of a step that does not
descend.
"""

SUFFICIENT, ENOUGH = 1e-4, 1e-7
"""Share of the expected descent that a step must reach, and the relative descent below which the
search ends.
"""


def descend(function: Function, start: Floats, low: Floats, high: Floats, steps: int) -> Floats:
    """A point of less value than the start (or the start), after at most that many steps;
    ``function`` gives value and gradient.
    """
    at = np.clip(start, low, high)
    value, gradient = function(at)
    pairs: deque[tuple[Floats, Floats]] = deque(maxlen=MEMORY)
    for _ in range(steps):
        is_free = ~(((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0)))
        direction = _direction(gradient * is_free, pairs) * is_free
        found = _step(function, at, value, gradient, direction, low, high)
        if found is None:
            if not pairs:
                break
            pairs.clear()
            continue
        reached, less, slope = found
        if _dot(reached - at, slope - gradient) > 0:
            pairs.append((reached - at, slope - gradient))
        gain = value - less
        at = reached
        value = less
        gradient = slope
        if gain <= ENOUGH * abs(value):
            break
    return at


def _step(
    function: Function,
    at: Floats,
    value: float,
    gradient: Floats,
    direction: Floats,
    low: Floats,
    high: Floats,
) -> tuple[Floats, float, Floats] | None:
    """The first point, halving the step, that descends enough, with its value and gradient; None
    where none does.
    """
    step = 1.0
    for _ in range(TRIALS):
        reached = np.clip(at + step * direction, low, high)
        expected = _dot(gradient, reached - at)
        less, slope = function(reached)
        if expected < 0 and less <= value + SUFFICIENT * expected:
            return reached, less, slope
        step *= 0.5
    return None


def _direction(gradient: Floats, pairs: deque[tuple[Floats, Floats]]) -> Floats:
    """Minus the inverse Hessian, as the pairs suggest it, times the gradient; without pairs,
    downhill by at most half a unit.
    """
    if not pairs:
        return -gradient * (0.5 / max(float(np.abs(gradient).max(initial=0.0)), 1e-30))
    result = gradient.copy()
    factors = []
    for change, turn in reversed(pairs):
        factor = _dot(change, result) / _dot(change, turn)
        factors.append(factor)
        result -= factor * turn
    change, turn = pairs[-1]
    result *= _dot(change, turn) / _dot(turn, turn)
    for (change, turn), factor in zip(pairs, reversed(factors), strict=True):
        result += (factor - _dot(turn, result) / _dot(change, turn)) * change
    return -result


def _dot(first: Floats, second: Floats) -> float:
    return float((first * second).sum())
