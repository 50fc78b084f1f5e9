"""The console that tables are printed on."""

from typing import NoReturn

from rich.console import Console, ConsoleDimensions

DEFAULT_COLUMNS = 80


class PlainConsole(Console):
    """Rich's console, which leaves a closed pipe to its caller instead of ending the process with a
    code of its own.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """Return the terminal's columns and lines; 80 columns where it says that it has none, as some
        that are no terminals do, on which nothing at all would be printed.
        """
        own = super().size
        return own if own.width > 0 else ConsoleDimensions(DEFAULT_COLUMNS, own.height)

    def on_broken_pipe(self) -> NoReturn:
        """Raise the BrokenPipeError that is being handled."""
        raise BrokenPipeError
