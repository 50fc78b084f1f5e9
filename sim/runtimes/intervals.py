"""The width of a prediction's interval, from the stated spread of everything that it rests on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from sim.runtimes.constants import Constants, ConstantsFile, Phase

SMALL_STEP = 0.01
"""A change of a constant's logarithm so small that a step's seconds change in proportion."""


def stated_spread(
    seconds: Callable[[Constants], Any], constants: Constants, file: ConstantsFile, phase: Phase
) -> Any:
    """Return the standard deviation of the logarithm of a step's seconds, or of many steps'.

    Each constant may differ on a machine by its prior spread, independently of the others. The form
    of the law has a spread of its own. A constant that hardly changes the step's seconds adds
    nothing. A measured rate in place of the datasheet's thus makes the interval narrower.
    """
    usual = np.log(np.asarray(seconds(constants), float))
    squares = np.full_like(usual, file.own_spreads[phase].value ** 2)
    for name, known in file.constants.items():
        moved = replace(constants, **{name: getattr(constants, name) * np.exp(SMALL_STEP)})
        change = (np.log(np.asarray(seconds(moved), float)) - usual) / SMALL_STEP
        squares = squares + (change * known.prior_spread) ** 2
    return np.sqrt(squares)


def interval_factor(spread: Any, spreads_to_an_end: Any) -> Any:
    """Return the factor that multiplies and divides a prediction to give its interval's ends."""
    return np.exp(spreads_to_an_end * spread)
