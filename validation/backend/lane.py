"""Lanes: threads that each run one task at a time, in the order of submission.

The first task of the line waits for what it depends on.
"""

import queue
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import torch

from validation.backend.cores import Worker
from validation.backend.ticket import Pace, Ticket


class Line(Protocol):
    """The interface of every lane, whether a thread or a stream does the work."""

    def submit(self, ticket: Ticket) -> None:
        """Put a task at the end of the line."""

    def close(self) -> None:
        """Return once all submitted tasks have ended."""


class Lane:
    """One thread and its line of tasks."""

    def __init__(self, name: str, pace: Pace, worker: Worker) -> None:
        self._line: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._pace = pace
        self._worker = worker
        # A daemon, so that a lane that hangs does not keep the process alive.
        self._thread = threading.Thread(target=self._serve, name=f"lane {name}", daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Put a task at the end of the line."""
        ticket.submitted_ns = time.perf_counter_ns()
        self._line.put(ticket)

    def close(self) -> None:
        """End the thread once its line is empty."""
        self._line.put(None)
        self._thread.join()

    def _serve(self) -> None:
        self._worker.settle()
        lane_order = 0
        # The mode is a thread's own, so each lane enters it.
        with torch.inference_mode():
            while (ticket := self._line.get()) is not None:
                for other in ticket.waits:
                    other.wait()
                ticket.begin(lane_order)
                ticket.perform(self._pace)
                ticket.finish()
                lane_order += 1


def finish(tickets: Sequence[Ticket]) -> None:
    """Wait until all tasks have ended, then raise the error of the first that failed, if any
    did.
    """
    # All must end before one raises: lanes at work still use the run's buffers.
    for ticket in tickets:
        ticket.wait()
    for ticket in tickets:
        if ticket.error is not None:
            raise ticket.error
