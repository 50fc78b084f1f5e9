"""The progress of a study, on one line of the terminal that disappears at the end."""

import time
from typing import TYPE_CHECKING

from rosin.cli.progress_line import ProgressLine, bar

if TYPE_CHECKING:
    from planner.study.outcome import Outcome, PointJob

BAR_WIDTH = 24


class StudyProgress(ProgressLine):
    """A line on stderr with the points done, the points a second and the time left.

    Nothing is printed if ``is_shown`` is false.
    """

    def __init__(self, total: int, num_kept: int, *, is_shown: bool) -> None:
        """Start a study of ``total`` points, of which ``num_kept`` are kept from an earlier run."""
        self._total = total
        self._num_kept = num_kept
        super().__init__(is_shown=is_shown)
        self._num_new = 0
        self._start_s = time.monotonic()
        self.show(self.line(0.0))

    @property
    def num_done(self) -> int:
        """Return the number of points that are done, kept ones included."""
        return self._num_kept + self._num_new

    def __call__(self, job: "PointJob", outcome: "Outcome") -> None:
        """Count one more point."""
        self._num_new += 1
        self.show(self.line(time.monotonic() - self._start_s))

    def line(self, elapsed_s: float) -> str:
        """Return the line of the terminal after ``elapsed_s`` seconds, in less than 80 columns."""
        filled = self.num_done * BAR_WIDTH // max(1, self._total)
        rest = ""
        if self._num_new and elapsed_s > 0:
            # Points that were kept from before took no time now, so the rate leaves them out.
            rate = self._num_new / elapsed_s
            rest = f", {rate:.2g} a second, {(self._total - self.num_done) / rate:,.0f} s left"
        return f"{bar(filled, BAR_WIDTH)} {self.num_done:,} of {self._total:,} points{rest}"
