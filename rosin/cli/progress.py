"""How far a search is, on one line of a terminal that is there only while it lasts."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.memory import Infeasible
    from sim.simulate import Run

BAR_WIDTH = 20
CLEAR = "\r\x1b[K"


class SearchProgress:
    """A line on stderr with what has been tried and the best so far; silent where ``is_shown`` is false."""

    def __init__(self, objective: str, total: int, *, is_shown: bool) -> None:
        """Nothing tried yet of ``total``."""
        self._objective, self._total, self._is_shown = objective, total, is_shown
        self._num_tried = 0
        self._best: tuple[float, str] | None = None

    def __call__(self, policy: str, outcome: "Run | Infeasible") -> None:
        """Count one more, and keep it if it is the best."""
        from planner.search import OBJECTIVES, is_allowed
        from sim.simulate import Run

        self._num_tried += 1
        if isinstance(outcome, Run) and is_allowed(outcome):
            score = OBJECTIVES[self._objective](outcome.metrics)
            if self._best is None or score < self._best[0]:
                self._best = (score, policy)
        self._print(self.line)

    @property
    def line(self) -> str:
        """What the terminal shows, in at most 80 columns."""
        done = self._num_tried * BAR_WIDTH // self._total
        bar = "#" * done + "." * (BAR_WIDTH - done)
        return f"[{bar}] {self._num_tried} of {self._total} tried; best: {self._found()}"[:79]

    def close(self) -> None:
        """Take the line away."""
        self._print("")

    def _found(self) -> str:
        from hwprofiles.units import format_duration

        if self._best is None:
            return "none fits yet"
        score, policy = self._best
        return f"{-score:.3g} tokens/s, {policy}" if self._objective == "throughput" else f"{format_duration(score)}, {policy}"

    def _print(self, line: str) -> None:
        if self._is_shown:
            print(CLEAR + line, end="", file=sys.stderr, flush=True)
