"""The console that prints tables."""

from typing import Any, NoReturn

from rich.console import Console

DEFAULT_COLUMNS = 80


class PlainConsole(Console):
    """A console of rich that raises an error for a closed pipe.

    Rich's own console ends the process with an exit code of its own.
    """

    def __init__(self, **settings: Any) -> None:
        """Use 80 columns if the terminal claims to have none, on which nothing would be printed."""
        super().__init__(**settings)
        if self.width <= 0:
            self.width = DEFAULT_COLUMNS

    def on_broken_pipe(self) -> NoReturn:
        """Raise the BrokenPipeError that is being handled."""
        raise BrokenPipeError
