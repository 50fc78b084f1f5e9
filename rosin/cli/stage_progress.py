"""How far a measurement is, on one line of a terminal that is there only while it lasts."""

from rosin.cli.ticking_line import WIDTH, TickingLine

BAR_WIDTH = 24


class StageProgress:
    """A line on stderr: what is being done and how much of it is; silent where ``is_shown`` is
    false.
    """

    def __init__(self, *, is_shown: bool) -> None:
        self._shown = TickingLine(is_shown=is_shown)
        self._line = ""

    def __call__(self, stage: str, share: float) -> None:
        """That stage is done to that share."""
        line = self.line(stage, share)
        # Progress is told far more often than the line changes.
        if line != self._line:
            self._line = line
            self._shown.show(line)

    def line(self, stage: str, share: float) -> str:
        """What the terminal shows."""
        filled = int(min(1.0, share) * BAR_WIDTH)
        return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {stage}"[:WIDTH]

    def close(self) -> None:
        """Take the line away."""
        self._shown.close()
