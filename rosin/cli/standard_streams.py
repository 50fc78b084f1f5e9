"""The three streams that a process starts with; the process that started it may have closed some."""

import os
import sys

STDIN, STDOUT, STDERR = range(3)


def open_closed_streams() -> None:
    """Open a stand-in for each closed stream, before any file takes its number.

    Python leaves None in its place, which `print` takes for stdout: errors would go among results.
    The stand-in of stdout takes nothing, so that results that nobody gets are an error; that of
    stderr takes everything.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is the one: those below it are open by now.
            os.open(os.devnull, os.O_WRONLY if number == STDERR else os.O_RDONLY)
    if sys.stdin is None:
        sys.stdin = os.fdopen(STDIN, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(STDOUT, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(STDERR, "w", encoding="utf-8", closefd=False)
