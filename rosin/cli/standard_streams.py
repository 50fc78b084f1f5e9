"""The standard streams of a process whose parent may have closed some of them."""

import os
import sys

STDIN, STDOUT, STDERR = range(3)


def open_closed_streams() -> None:
    """Open a stand-in for each closed stream, before another file takes its number.

    Python sets a closed stream to None. `print` takes None for stdout, so errors would go among the
    results. A write to the stand-in of stdout fails, since nobody would get the results. The
    stand-in of stderr takes every write.
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
