"""Cutting apart parts that are written without a sign between them: ``Threadripper 7970X 4x RTX
3090``.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_WORDS = 30
"""The most words of a text that is cut. A computer's parts in a row have fewer, and trying every
cut of so few is quick.
"""


def fewest_pieces(words: Sequence[str], read: Callable[[str], T | None]) -> list[T] | None:
    """Return what ``read`` makes of the fewest pieces of the words, at least two, in their order.

    ``read`` returns None for a piece that it does not understand. Of several cuts into the fewest
    pieces, the one with the longest last piece is taken. None where no cut is understood, or for
    more than MAX_WORDS.
    """
    if len(words) > MAX_WORDS:
        return None
    best: list[list[T] | None] = [[]]
    for end in range(1, len(words) + 1):
        found: list[T] | None = None
        for start in range(end):
            before = best[start]
            # The whole is no cut, and more pieces than are known are not wanted.
            if before is None or (start == 0 and end == len(words)):
                continue
            if found is not None and len(before) + 1 >= len(found):
                continue
            piece = read(" ".join(words[start:end]))
            if piece is not None:
                found = [*before, piece]
        best.append(found)
    return best[-1]
