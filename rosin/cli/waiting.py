"""The progress of a command, on one line of the terminal that disappears at the end."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Waiting:
    """A line on stderr with the current work, a bar and the time left.

    Without a total number of steps, the line shows the time taken so far. The line moves by itself,
    so that a long step shows signs of life. Nothing is printed if ``is_shown`` is false.
    """

    def __init__(
        self,
        doing: str,
        total: float | None = None,
        *,
        is_shown: bool,
        console: "Console | None" = None,
    ) -> None:
        """Prepare a line for ``total`` steps (None: unknown); ``console`` replaces stderr."""
        self._doing = doing
        self._total = total
        self._is_shown = is_shown
        self._console = console
        self._progress: Progress | None = None
        self._done = 0.0

    def __enter__(self) -> Self:
        """Show the line."""
        if self._is_shown:
            self._progress = _line(self._console, has_total=self._total is not None)
            self._task = self._progress.add_task(self._doing, total=self._total)
            self._progress.start()
        return self

    def step(self, doing: str, done: float = 1.0) -> None:
        """Count ``done`` more steps, and show the current work."""
        self._done += done
        if self._progress is not None:
            label = doing if len(doing) <= LONGEST else f"{doing[: LONGEST - 1]}…"
            self._progress.update(self._task, completed=self._done, description=label)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Erase the line."""
        if self._progress is not None:
            self._progress.stop()


LONGEST = 40
"""The most characters of the current work; bar and time fit beside them in 80 columns."""


def _line(console: "Console | None", *, has_total: bool) -> "Progress":
    """Return a progress display of rich that erases itself at the end."""
    # rich is slow to import, and only somebody at a terminal sees this line.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    shown = console or Console(stderr=True, highlight=False)
    # Names with brackets would otherwise be read as rich's markup.
    text = TextColumn("{task.description}", markup=False)
    if has_total:
        rest = (BarColumn(bar_width=16), TimeRemainingColumn(compact=True), TextColumn("left"))
        return Progress(SpinnerColumn(), text, *rest, console=shown, transient=True)
    return Progress(SpinnerColumn(), text, TimeElapsedColumn(), console=shown, transient=True)
