"""The simplex search of Nelder and Mead (1965), for the minimum of a function without slopes.

The search tries the same points as scipy's ``minimize(method="Nelder-Mead")``. Importing scipy's
takes a third of a second, a tenth of a short plan.
"""

from collections.abc import Callable

import numpy as np

from planner.bounds.work import Floats

NEAR, ALIKE = 1e-4, 1e-4
"""The search ends where all corners and values are this close to the best.

No corner is farther than ``NEAR`` from the best along any axis, and no value farther than
``ALIKE``.
"""


def lowest(
    function: Callable[[Floats], float], simplex: Floats, num_trials: int
) -> tuple[Floats, float]:
    """Return the best corner [axis] and its value, after at most ``num_trials`` calls of the
    function.

    The search starts from ``simplex`` [corner, axis], and needs at least as many trials as corners.
    """
    values = np.array([function(corner) for corner in simplex])
    search = _Search(
        function, simplex[(order := np.argsort(values))], values[order], num_trials - len(values)
    )
    while search.left > 0 and not search.is_small() and search.step():
        search.sort()
    search.sort()
    return search.simplex[0], float(search.values[0])


class _Search:
    """A simplex during the search, best corner first, and how many trials are left."""

    def __init__(
        self, function: Callable[[Floats], float], simplex: Floats, values: Floats, left: int
    ) -> None:
        self.simplex = simplex
        self.values = values
        self.left = left
        self._function = function

    def sort(self) -> None:
        """Sort the corners, the best first."""
        order = np.argsort(self.values)
        self.simplex = self.simplex[order]
        self.values = self.values[order]

    def is_small(self) -> bool:
        """Whether all corners and values are as close to the best as NEAR and ALIKE say."""
        return bool(
            np.abs(self.simplex[1:] - self.simplex[0]).max() <= NEAR
            and np.abs(self.values[0] - self.values[1:]).max() <= ALIKE
        )

    def step(self) -> bool:
        """Reflect, and then expand, contract or shrink; False when the trials have run out."""
        center = np.add.reduce(self.simplex[:-1], 0) / self.simplex.shape[1]
        worst = self.simplex[-1]
        reflected = 2 * center - worst
        value = self._tried(reflected)
        if value is None:
            return False
        if value < self.values[0]:
            return self._place(reflected, value, 3 * center - 2 * worst, is_kept=True, most=value)
        # Better than the second worst: the simplex moves on without another trial.
        if value < self.values[-2]:
            self.simplex[-1] = reflected
            self.values[-1] = value
            return True
        if value < self.values[-1]:
            return self._place(
                reflected,
                value,
                1.5 * center - 0.5 * worst,
                is_kept=False,
                # Contracting outwards is kept where it equals the reflected corner, as in scipy.
                most=np.nextafter(value, np.inf),
            )
        return self._place(
            reflected, value, 0.5 * center + 0.5 * worst, is_kept=False, most=self.values[-1]
        )

    def _place(
        self, reflected: Floats, value: float, other: Floats, *, is_kept: bool, most: float
    ) -> bool:
        """Put ``other`` in place of the worst corner if it is below ``most``.

        Else the reflected corner takes that place if it ``is_kept``, or the simplex shrinks. Return
        False when the trials have run out.
        """
        found = self._tried(other)
        if found is None:
            return False
        if found < most:
            self.simplex[-1] = other
            self.values[-1] = found
        elif is_kept:
            self.simplex[-1] = reflected
            self.values[-1] = value
        else:
            return self._shrink()
        return True

    def _shrink(self) -> bool:
        """Halve the way of all corners to the best; False when the trials have run out."""
        for corner in range(1, len(self.simplex)):
            self.simplex[corner] = self.simplex[0] + 0.5 * (self.simplex[corner] - self.simplex[0])
            value = self._tried(self.simplex[corner])
            if value is None:
                return False
            self.values[corner] = value
        return True

    def _tried(self, point: Floats) -> float | None:
        """Return the function's value at a point; None where no trial is left."""
        if self.left <= 0:
            return None
        self.left -= 1
        return self._function(point)
