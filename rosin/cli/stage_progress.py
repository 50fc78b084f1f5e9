"""The progress of a measurement, on one line of the terminal that disappears at the end."""

from rosin.cli.progress_line import MAX_CHARACTERS, ProgressLine, bar

BAR_WIDTH = 24


class StageProgress(ProgressLine):
    """A line on stderr with the current stage and the share of it that is done.

    Nothing is printed if ``is_shown`` is false.
    """

    def __init__(self, *, is_shown: bool) -> None:
        """Show at once a line that says that the measurement gets ready."""
        super().__init__(is_shown=is_shown)
        self._shown = ""
        self("getting ready", 0.0)

    def __call__(self, stage: str, share: float) -> None:
        """Show a stage and the share of it that is done (0 to 1)."""
        line = self.line(stage, share)
        # Progress is told far more often than the line changes.
        if line != self._shown:
            self._shown = line
            self.show(line)

    def line(self, stage: str, share: float) -> str:
        """Return the line of the terminal for a stage and the share of it that is done."""
        filled = int(min(1.0, share) * BAR_WIDTH)
        return f"{bar(filled, BAR_WIDTH)} {stage}"[:MAX_CHARACTERS]
