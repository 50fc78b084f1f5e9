"""The console that tables are printed on."""

from typing import Any, NoReturn

from rich.console import Console

DEFAULT_COLUMNS = 80


class PlainConsole(Console):
    """Rich's console, which leaves a closed pipe to its caller instead of ending the process with a
    code of its own.
    """

    def __init__(self, **settings: Any) -> None:
        """A terminal that says it has no columns, on which nothing would be printed, counts as one
        of 80.
        """
        super().__init__(**settings)
        if self.width <= 0:
            self.width = DEFAULT_COLUMNS

    def on_broken_pipe(self) -> NoReturn:
        """Raise the BrokenPipeError that is being handled."""
        raise BrokenPipeError
