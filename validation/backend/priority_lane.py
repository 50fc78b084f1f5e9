"""A lane that takes the most urgent of what is ready, as the simulator's resources by priority do."""

import threading
import time
from contextlib import nullcontext

import torch

from validation.backend.cores import Worker
from validation.backend.stream import Stream
from validation.backend.ticket import Pace, Ticket


class PriorityLane:
    """One thread; the ready task of the smallest (priority, requeue, number) goes first, and what
    is in pieces may be overtaken.

    On a stream, a task is launched when its turn has come and seen through to its end: what stands
    in a queue could not be overtaken.
    """

    def __init__(self, name: str, pace: Pace, worker: Worker, stream: Stream | None = None) -> None:
        self._changed = threading.Condition()
        self._waiting: set[Ticket] = set()
        self._places: dict[Ticket, tuple[int, int]] = {}
        self._num_requeues = self._lane_order = 0
        self._is_closing = False
        self._pace = pace
        self._worker = worker
        self._stream = stream
        self._thread = threading.Thread(target=self._serve, name=f"lane {name}", daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Let it take part from now on."""
        ticket.submitted_ns = time.perf_counter_ns()
        # An end on another lane wakes nobody here by itself.
        for other in ticket.waits:
            other.listeners.append(self._wake)
        with self._changed:
            self._waiting.add(ticket)
            self._places[ticket] = 0, len(self._places)
            self._changed.notify()

    def promote(self, ticket: Ticket, priority: int) -> bool:
        """Give a task that has not started another priority; False, and no effect, if it has."""
        with self._changed:
            # The lane begins tasks under this lock, so none can begin after this look.
            if ticket.start_ns:
                return False
            ticket.priority = priority
            return True

    def drop(self, ticket: Ticket) -> bool:
        """Take back a task that has not started: it ends now.

        False, and no effect, if it has started.
        """
        with self._changed:
            if ticket.start_ns:
                return False
            self._waiting.remove(ticket)
        # Outside the lock, because the end wakes other lanes, which take locks of their own.
        ticket.drop()
        return True

    def close(self) -> None:
        """End the thread once nothing waits any more."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _serve(self) -> None:
        self._worker.settle()
        with torch.inference_mode(), nullcontext() if self._stream is None else self._stream.use():
            while (ticket := self._next()) is not None:
                ticket.perform(self._pace, self._settle)
                if ticket.chunks_done == ticket.num_chunks:
                    ticket.finish()
                else:
                    self._requeue(ticket)

    def _settle(self) -> None:
        if self._stream is not None:
            self._stream.mark().wait()

    def _next(self) -> Ticket | None:
        """The most urgent, begun if it has not been; None when the lane closes with nothing left."""
        with self._changed:
            while True:
                # Few tasks wait at a time, and their priorities change, so no queue in order is
                # kept.
                ready = [ticket for ticket in self._waiting if ticket.is_ready]
                if ready:
                    ticket = min(ready, key=lambda one: (one.priority, *self._places[one]))
                    self._waiting.remove(ticket)
                    # A task in pieces has begun before: it keeps its start and its place in the
                    # lane's order.
                    if not ticket.start_ns:
                        ticket.begin(self._lane_order)
                        self._lane_order += 1
                    return ticket
                if self._is_closing and not self._waiting:
                    return None
                self._changed.wait()

    def _requeue(self, ticket: Ticket) -> None:
        """Put a task behind all that became ready before."""
        with self._changed:
            self._num_requeues += 1
            self._places[ticket] = self._num_requeues, self._places[ticket][1]
            self._waiting.add(ticket)
