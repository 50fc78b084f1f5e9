"""A lane on a stream: tasks are launched ahead of their time, in the order of submission.

Tasks wait for each other on the accelerator.
"""

import queue
import threading
import time

import torch

from validation.backend.cores import Worker
from validation.backend.stream import Stream, StreamClock
from validation.backend.ticket import Ticket


class StreamLane:
    """A lane with two threads: one launches tasks, the other sees them end and tells waiting tasks.

    A task that waits for one of another stream is launched behind a mark. A task that waits for a
    thread's work is launched after that work.
    """

    def __init__(self, name: str, stream: Stream, clock: StreamClock, worker: Worker) -> None:
        self._line: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._launched: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._stream = stream
        self._clock = clock
        self._worker = worker
        # Two threads, because a thread that waits for ends could not launch ahead.
        self._threads = [
            threading.Thread(target=serve, name=f"lane {name}: {role}", daemon=True)
            for role, serve in (("launches", self._launch_all), ("ends", self._end_all))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Put a task at the end of the line."""
        ticket.submitted_ns = time.perf_counter_ns()
        # Made on submission, so that a thread that waits for the task finds it before the launch.
        ticket.launch = threading.Event()
        self._line.put(ticket)

    def close(self) -> None:
        """Return once all submitted tasks have ended."""
        self._line.put(None)
        for thread in self._threads:
            thread.join()

    def _launch_all(self) -> None:
        self._worker.settle()
        lane_order = 0
        with torch.inference_mode():
            while (ticket := self._line.get()) is not None:
                self._wait_for(ticket)
                with self._stream.use():
                    begins = self._stream.mark()
                    ticket.launch_work()
                    ends = self._stream.mark()
                ticket.lane_order = lane_order
                ticket.marks = (begins, ends)
                assert ticket.launch is not None
                ticket.launch.set()
                self._launched.put(ticket)
                lane_order += 1
        # The other thread ends only after the last launched task.
        self._launched.put(None)

    def _wait_for(self, ticket: Ticket) -> None:
        for other in ticket.waits:
            # A thread's work has no mark on a stream, so the launch itself waits for it.
            if other.launch is None:
                other.wait()
            else:
                other.launch.wait()
                assert other.marks is not None
                self._stream.wait_for(other.marks[1])

    def _end_all(self) -> None:
        self._worker.settle()
        while (ticket := self._launched.get()) is not None:
            assert ticket.marks is not None
            begins, ends = ticket.marks
            ends.wait()
            ticket.happened(self._clock.instant_ns(begins), self._clock.instant_ns(ends))
