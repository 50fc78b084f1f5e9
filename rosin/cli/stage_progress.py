"""How far a measurement is, on one line of a terminal that is there only while it lasts."""

from rosin.cli.progress_line import MAX_CHARACTERS, ProgressLine, bar

BAR_WIDTH = 24


class StageProgress(ProgressLine):
    """A line on stderr: what is being done and how much of it is; silent where ``is_shown`` is
    false.
    """

    def __init__(self, *, is_shown: bool) -> None:
        """Nothing done yet, which is shown from the start."""
        super().__init__(is_shown=is_shown)
        self._shown = ""
        self("getting ready", 0.0)

    def __call__(self, stage: str, share: float) -> None:
        """Show that the stage is done to that share."""
        line = self.line(stage, share)
        # Progress is told far more often than the line changes.
        if line != self._shown:
            self._shown = line
            self.show(line)

    def line(self, stage: str, share: float) -> str:
        """What the terminal shows."""
        filled = int(min(1.0, share) * BAR_WIDTH)
        return f"{bar(filled, BAR_WIDTH)} {stage}"[:MAX_CHARACTERS]
