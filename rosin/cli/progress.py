"""The progress of a search, on one line of the terminal that disappears at the end."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rosin.cli.progress_line import MAX_CHARACTERS, ProgressLine, bar

if TYPE_CHECKING:
    from planner.search.steps import Step
    from sim.step.metrics import Metrics

BAR_WIDTH = 20


class SearchProgress(ProgressLine):
    """A line on stderr with the search's current work and the best result so far.

    Nothing is printed if ``is_shown`` is false.
    """

    def __init__(
        self, objective: str, *, is_shown: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Show a line for a search that has done nothing yet; ``clock`` gives seconds."""
        self._objective = objective
        super().__init__(is_shown=is_shown)
        self._clock = clock
        self._doing = ""
        self._last_s = self._began_s = clock()
        self.line = ""
        self.show("placing candidates")

    def __call__(self, step: "Step") -> None:
        """Show the progress of the search."""
        done = step.num_done * BAR_WIDTH // max(1, step.num_in_all)
        best = "none yet" if step.metrics is None else f"{self._speed(step.metrics)}, {step.policy}"
        words = f"{step.doing}{self._left(step)}; best: {best}"
        self.line = f"{bar(done, BAR_WIDTH)} {words}"[:MAX_CHARACTERS]
        self.show(self.line)

    def _left(self, step: "Step") -> str:
        """Return the time that the current work still takes, in words; empty below one second."""
        now_s = self._clock()
        if step.doing != self._doing:
            # Steps are told when they end, so this one began when the last of the others did.
            self._doing = step.doing
            self._began_s = self._last_s
        self._last_s = now_s
        left_s = (now_s - self._began_s) * (step.num_in_all / max(1, step.num_done) - 1)
        return f", {left_s:.0f} s left" if left_s >= 1 else ""

    def _speed(self, metrics: "Metrics") -> str:
        from hwprofiles.units import format_duration
        from planner.search.objectives import OBJECTIVES

        # Lower scores are better, so the score of a speed is negative.
        score = OBJECTIVES[self._objective](metrics)
        return f"{-score:.3g} tokens/s" if score < 0 else format_duration(score)
