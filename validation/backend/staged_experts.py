"""The buffers that experts go through on their way to the accelerator."""

from collections.abc import Sequence
from typing import NamedTuple

from validation.backend.ticket import Ticket
from validation.backend.weights import Block


class StagedExperts:
    """The ring of buffers that missing experts go through."""

    def __init__(self, buffers: Sequence[Sequence[Block]]) -> None:
        self._buffers = buffers
        self._last_runs: list[Ticket | None] = [None] * len(buffers)
        self._next = 0

    def take(self, layer: int) -> tuple[int, Block, Ticket | None]:
        """The next buffer: its number, its memory in that layer's shape, and the task that last
        read it.
        """
        # In turn, so that a copy waits for the run that began longest ago.
        number = self._next % len(self._buffers)
        self._next += 1
        return number, self._buffers[number][layer], self._last_runs[number]

    def give_back(self, number: int, last_run: Ticket) -> None:
        """The buffer is free once that task has ended."""
        self._last_runs[number] = last_run


class EarlyCopy(NamedTuple):
    """An expert on its way ahead of its gate, and the number of the buffer that it comes to."""

    expert: int
    number: int
    buffer: Block
    copy: Ticket
