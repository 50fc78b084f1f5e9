"""A format that random files are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """Good files of one format, and the reader that must answer for every other.

    ``is_file`` is False for what a user types: its error names no file.
    """

    name: str
    suffix: str
    seeds: Sequence[bytes]
    read: Callable[[Path], object]
    is_file: bool = True
