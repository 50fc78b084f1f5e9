"""A lane that takes the most urgent ready task, as the simulator's resources by priority do."""

import queue
import threading
import time
from contextlib import nullcontext
from functools import partial

import torch

from validation.backend.cores import Worker
from validation.backend.stream import Stream
from validation.backend.ticket import Pace, Ticket


class PriorityLane:
    """One thread, which runs the ready task with the smallest (priority, requeue, number) first.

    A task in pieces may be overtaken between pieces. On a stream, a task is launched at its turn
    and awaited to its end. A task in the stream's queue could not be overtaken.
    """

    def __init__(self, name: str, pace: Pace, worker: Worker, stream: Stream | None = None) -> None:
        self._lock = threading.Lock()
        # A token for each task that is ready, and for the close. What waits is not looked at again
        # and again: the thread shares a core with others that compute.
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waits: dict[Ticket, set[Ticket]] = {}
        self._ready: set[Ticket] = set()
        self._places: dict[Ticket, tuple[int, int]] = {}
        self._num_requeues = self._lane_order = 0
        self._is_closing = False
        self._pace = pace
        self._worker = worker
        self._stream = stream
        self._thread = threading.Thread(target=self._serve, name=f"lane {name}", daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Let a task compete for the lane from now on."""
        ticket.submitted_ns = time.perf_counter_ns()
        with self._lock:
            self._places[ticket] = 0, len(self._places)
            self._waits[ticket] = set(ticket.waits)
        # An end on another lane wakes nobody here by itself.
        for other in ticket.waits:
            other.listeners.append(partial(self._ended, ticket, other))
        # What ended before it was listened to says nothing more.
        for other in ticket.waits:
            if other.is_ended:
                self._ended(ticket, other)
        if not ticket.waits:
            self._ended(ticket, ticket)

    def promote(self, ticket: Ticket, priority: int) -> bool:
        """Give a task that has not started another priority; return False, without effect, if it
        has.
        """
        with self._lock:
            # The lane begins tasks under this lock, so none can begin after this look.
            if ticket.start_ns:
                return False
            ticket.priority = priority
            return True

    def drop(self, ticket: Ticket) -> bool:
        """Take back a task that has not started, which ends it now.

        Return False, without effect, if it has started.
        """
        with self._lock:
            if ticket.start_ns:
                return False
            self._waits.pop(ticket, None)
            self._ready.discard(ticket)
        # Outside the lock, because the end wakes other lanes, which take locks of their own.
        ticket.drop()
        # It may have been the last that a closing lane waited for.
        self._tokens.put(None)
        return True

    def close(self) -> None:
        """End the thread once no task waits any more."""
        with self._lock:
            self._is_closing = True
        self._tokens.put(None)
        self._thread.join()

    def _ended(self, ticket: Ticket, other: Ticket) -> None:
        """Note that ``other``, which ``ticket`` waits for, has ended; a second note changes
        nothing.
        """
        with self._lock:
            waits = self._waits.get(ticket)
            if waits is None:
                return
            waits.discard(other)
            if waits:
                return
            del self._waits[ticket]
            self._ready.add(ticket)
        self._tokens.put(None)

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
        """Return the most urgent task, begun; None when the lane closes with nothing left."""
        while True:
            with self._lock:
                if self._ready:
                    return self._begun()
                if self._is_closing and not self._waits:
                    return None
            # Whatever changed since the look left a token.
            self._tokens.get()

    def _begun(self) -> Ticket:
        # Few are ready at a time, and their priorities change, so no queue in order is kept.
        ticket = min(self._ready, key=lambda one: (one.priority, *self._places[one]))
        self._ready.remove(ticket)
        # A task in pieces has begun before: it keeps its start and its place in the lane's order.
        if not ticket.start_ns:
            ticket.begin(self._lane_order)
            self._lane_order += 1
        return ticket

    def _requeue(self, ticket: Ticket) -> None:
        """Put a task behind all that became ready before."""
        with self._lock:
            self._num_requeues += 1
            self._places[ticket] = self._num_requeues, self._places[ticket][1]
            self._ready.add(ticket)
