"""The simplex search against scipy's, which it stands for."""

import numpy as np
import pytest
from scipy.optimize import minimize

from planner.bounds.simplex import Floats, lowest


def _bowl(at: Floats) -> float:
    return float((at - [0.3, 1.2, -0.4]) ** 2 @ [1.0, 10.0, 0.1])


def _banana(at: Floats) -> float:
    return float(100 * ((at[1:] - at[:-1] ** 2) ** 2).sum() + ((1 - at[:-1]) ** 2).sum())


def _stairs(at: Floats) -> float:
    return float(np.floor(np.abs(at) * 8).sum())


@pytest.mark.parametrize("function", [_bowl, _banana, _stairs])
@pytest.mark.parametrize("num_trials", [5, 7, 40, 120, 1000])
def test_it_tries_what_scipy_tries(function, num_trials: int) -> None:  # type: ignore[no-untyped-def]
    """The same points in the same order, so the same end, wherever the trials run out; ties and
    shrinking included.
    """
    simplex = np.array([(0.5, 0.4, 1.0), (0.6, 0.4, 0.9), (0.5, 0.65, 0.9), (0.5, 0.4, 0.6)])
    tried: dict[str, list[list[float]]] = {"own": [], "scipy": []}

    def noted(name: str):  # type: ignore[no-untyped-def]
        def value(at: Floats) -> float:
            tried[name].append(at.tolist())
            return float(function(at))

        return value

    point, value = lowest(noted("own"), simplex, num_trials)
    expected = minimize(
        noted("scipy"),
        simplex[0],
        method="Nelder-Mead",
        options={"maxfev": num_trials, "initial_simplex": simplex.copy()},
    )
    assert tried["own"] == tried["scipy"] and len(tried["own"]) <= num_trials
    assert point.tolist() == expected.x.tolist() and value == expected.fun
