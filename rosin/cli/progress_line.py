"""One line of a terminal that says how far something is, there only while it lasts."""

import sys

CLEAR = "\r\x1b[K"
MAX_CHARACTERS = 79
"""A line that wraps could not be erased by a carriage return."""


class ProgressLine:
    """A line on stderr; silent where ``is_shown`` is false."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown

    def show(self, line: str) -> None:
        """Put the line in place of the one before."""
        if self._is_shown:
            print(CLEAR + line, end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the line away."""
        self.show("")


def bar(done: int, width: int) -> str:
    """A bar of which so many places are done."""
    return f"[{'#' * done}{'.' * (width - done)}]"
