"""The console that tables are printed on."""

from typing import NoReturn

from rich.console import Console


class PlainConsole(Console):
    """Rich's console, which leaves a closed pipe to its caller instead of ending the process with a
    code of its own.
    """

    def on_broken_pipe(self) -> NoReturn:
        """Raise the BrokenPipeError that is being handled."""
        raise BrokenPipeError
