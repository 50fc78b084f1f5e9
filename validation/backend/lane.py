"""Lanes: threads that each run one task at a time, in the order submitted, the head of the line waiting for what it depends on."""

import queue
import threading
import time
from collections.abc import Callable, Sequence

import torch

from sim.task import TaskKind
from validation.backend.pacing import sleep_until, wake_promptly

Work = Callable[[], int]
"""What a task does for real; returns the bytes it copied."""


class Ticket:
    """A task on its way through a lane, and what was seen of it; all instants are of ``time.perf_counter_ns``.

    ``duration_ns`` is how long it is made to last (0: as long as it takes); ``worked_ns`` is the instant its real work was done.
    """

    def __init__(
        self, resource: int, kind: TaskKind, step: int, layer: int, expert: int, duration_ns: int, priority: int, work: Work | None
    ) -> None:
        self.resource, self.kind, self.step, self.layer, self.expert = resource, kind, step, layer, expert
        self.duration_ns, self.priority, self.work = duration_ns, priority, work
        self.waits: tuple[Ticket, ...] = ()
        self.submitted_ns = self.start_ns = self.worked_ns = self.end_ns = 0
        self.num_bytes = 0
        self.lane_order = -1
        self.error: BaseException | None = None
        self._latch = threading.Lock()
        self._latch.acquire()

    def wait(self) -> None:
        """Return once the task has ended."""
        if not self.end_ns:
            self._latch.acquire()
            self._latch.release()

    def run(self, lane_order: int, *, is_paced: bool) -> None:
        """Wait for what it depends on, do the work, last as long as it should; an error is kept for whoever looks."""
        for other in self.waits:
            other.wait()
        self.lane_order = lane_order
        self.start_ns = time.perf_counter_ns()
        try:
            self.num_bytes = self.work() if self.work is not None else 0
        except BaseException as error:
            self.error = error
        self.worked_ns = time.perf_counter_ns()
        if is_paced:
            sleep_until(self.start_ns + self.duration_ns)
        self.end_ns = time.perf_counter_ns()
        self._latch.release()


class Lane:
    """One thread and its line of tasks."""

    def __init__(self, name: str, *, is_paced: bool) -> None:
        self._line: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._is_paced = is_paced
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
        wake_promptly()
        torch.set_num_threads(1)  # of this thread: a lane is one worker
        lane_order = 0
        with torch.inference_mode():
            while (ticket := self._line.get()) is not None:
                ticket.run(lane_order, is_paced=self._is_paced)
                lane_order += 1


def raise_first_error(tickets: Sequence[Ticket]) -> None:
    """Raise what went wrong on a lane, if anything did."""
    for ticket in tickets:
        if ticket.error is not None:
            raise ticket.error
