"""How far a measurement is, on one line of a terminal that is there only while it lasts."""

import sys

BAR_WIDTH = 24
CLEAR = "\r\x1b[K"


class StageProgress:
    """A line on stderr: what is being done and how much of it is; silent where ``is_shown`` is
    false.
    """

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._shown = ""

    def __call__(self, stage: str, share: float) -> None:
        """That stage is done to that share."""
        line = self.line(stage, share)
        # Progress is told far more often than the line changes.
        if line != self._shown:
            self._shown = line
            self._print(line)

    def line(self, stage: str, share: float) -> str:
        """What the terminal shows."""
        filled = int(min(1.0, share) * BAR_WIDTH)
        return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {stage}"[:79]

    def close(self) -> None:
        """Take the line away."""
        self._print("")

    def _print(self, line: str) -> None:
        if self._is_shown:
            print(CLEAR + line, end="", file=sys.stderr, flush=True)
