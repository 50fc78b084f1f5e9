"""Parts written without a sign between them, cut apart: ``Threadripper 7970X 4x RTX 3090``."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_WORDS = 30
"""The most words of a part that is cut: more than a computer's parts in a row, and few enough to
try every cut.
"""


def fewest_pieces(words: Sequence[str], read: Callable[[str], T | None]) -> list[T] | None:
    """The words as the fewest pieces, two at least, that ``read`` all understands, in their order.

    Of as few pieces, the one whose last piece is longest. None where there is no such cut.
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
