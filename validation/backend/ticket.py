"""A task on its way through a lane, with the instants at which things happened to it."""

import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from sim.engine.task import NONE, TaskKind
from validation.backend.copying import Copy
from validation.backend.paced_link import copy_evenly
from validation.backend.pacing import sleep_until
from validation.backend.stream import Mark

Work = Callable[[], int]
"""A task's real work; it returns the bytes that it copied."""


class Pace(Enum):
    """How long a lane makes a task last.

    OWN: its own time. PADDED: its work, then sleep to the end of its duration. LINK: copies are
    spread evenly over their duration.
    """

    OWN = auto()
    PADDED = auto()
    LINK = auto()


class TaskLabel(NamedTuple):
    """What a task is for: its kind, and the step, layer and expert that it belongs to."""

    kind: TaskKind
    step: int = 0
    layer: int = 0
    expert: int = NONE


class Ticket:
    """One task; all instants are of ``time.perf_counter_ns``, and 0 until they have come.

    ``duration_ns`` is how long the task is made to last if its lane is paced. ``worked_ns`` is the
    instant at which its real work was done. A task in ``num_chunks`` pieces may be overtaken
    between them; ``busy_ns`` leaves that time out. For ``lost_ns`` of the work its thread had no
    core. On a stream, ``launch`` is set once the task stands in the queue, between its two
    ``marks``.
    """

    def __init__(
        self,
        resource: int,
        label: TaskLabel,
        duration_ns: int,
        priority: int,
        work: Work | None,
        num_chunks: int = 1,
    ) -> None:
        self.resource = resource
        self.kind = label.kind
        self.step = label.step
        self.layer = label.layer
        self.expert = label.expert
        self.duration_ns = duration_ns
        self.priority = priority
        self.work = work
        self.num_chunks = num_chunks
        self.waits: tuple[Ticket, ...] = ()
        self.submitted_ns = self.start_ns = self.worked_ns = self.end_ns = self.busy_ns = (
            self._paused_ns
        ) = 0
        self.num_bytes = self.chunks_done = self.lost_ns = 0
        self.lane_order = -1
        self.is_dropped = False
        self.error: BaseException | None = None
        self.listeners: list[Callable[[], None]] = []
        self.launch: threading.Event | None = None
        self.marks: tuple[Mark, Mark] | None = None
        self._latch = threading.Lock()
        self._latch.acquire()

    @property
    def is_ended(self) -> bool:
        """Whether the task has run, or was dropped."""
        return self.end_ns > 0

    @property
    def is_ready(self) -> bool:
        """Whether all tasks that this one waits for have ended."""
        return all(other.is_ended for other in self.waits)

    def wait(self) -> None:
        """Return once the task has ended."""
        if not self.end_ns:
            # The lock is held until the task has ended, and is let go again for the next who waits.
            self._latch.acquire()
            self._latch.release()

    def begin(self, lane_order: int) -> None:
        """Start the task now, as the lane's next."""
        self.lane_order = lane_order
        self.start_ns = time.perf_counter_ns()

    def perform(self, pace: Pace, settle: Callable[[], None] | None = None) -> None:
        """Do the next piece, and make it last as long as it should. An error is kept in ``error``.

        ``settle`` returns once the work that the piece launched is done.
        """
        began_ns = time.perf_counter_ns() if self.chunks_done else self.start_ns
        try:
            self.num_bytes += self._do_counted(began_ns, pace)
            if settle is not None:
                settle()
        # Any error is caught: a dead thread would leave all who wait for the task without an end.
        except BaseException as error:
            self.error = error
        self.worked_ns = time.perf_counter_ns()
        self.chunks_done += 1
        if pace is not Pace.OWN:
            sleep_until(began_ns + self._piece_ns)
        self._paused_ns = time.perf_counter_ns()
        self.busy_ns += self._paused_ns - began_ns

    def _do_counted(self, began_ns: int, pace: Pace) -> int:
        """Do the next piece, and count the time in which its thread had no core; return the bytes
        copied.
        """
        if pace is not Pace.OWN:  # it sleeps, or waits for the instants of an even copy
            return self._do_piece(began_ns, pace)
        wall_ns = time.perf_counter_ns()
        cpu_ns = time.thread_time_ns()
        num_bytes = self._do_piece(began_ns, pace)
        worked_ns = time.thread_time_ns() - cpu_ns
        self.lost_ns += max(0, time.perf_counter_ns() - wall_ns - worked_ns)
        return num_bytes

    def launch_work(self) -> None:
        """Give all of the work to a stream. An error is kept in ``error``."""
        try:
            self.num_bytes = self.work() if self.work is not None else 0
        except BaseException as error:
            self.error = error

    def happened(self, start_ns: int, end_ns: int) -> None:
        """Note that a stream ran the task between those instants; tasks that wait for it go on."""
        self.start_ns = start_ns
        self.worked_ns = end_ns
        self._paused_ns = end_ns
        self.busy_ns = end_ns - start_ns
        self.finish()

    def drop(self) -> None:
        """Take the task back: it ends now, having run nothing."""
        self.is_dropped = True
        self.start_ns = self.worked_ns = self._paused_ns = time.perf_counter_ns()
        self.finish()

    def finish(self) -> None:
        """End the task with its last piece; tasks that wait for it go on."""
        # The end is set before the latch opens, since a thread that wakes reads it.
        self.end_ns = self._paused_ns
        self._latch.release()
        for listener in self.listeners:
            listener()

    def let_go(self) -> None:
        """Forget the work of a task that has ended, and with it the weights that the work used.

        The work refers to the run, which refers to the task. Python frees such a cycle late, and a
        run of a real model has gigabytes.
        """
        self.work = None
        self.listeners.clear()

    @property
    def _piece_ns(self) -> int:
        """Planned duration of the last piece, in ns."""
        done = self.chunks_done
        count = self.num_chunks
        # Differences of rounded sums, so that the pieces together last duration_ns.
        return self.duration_ns * done // count - self.duration_ns * (done - 1) // count

    def _do_piece(self, began_ns: int, pace: Pace) -> int:
        work = self.work
        if self.num_chunks > 1 and isinstance(work, Copy):
            work = work.pieces(self.num_chunks)[self.chunks_done]
        if work is None:
            return 0
        if pace is Pace.LINK and isinstance(work, Copy):
            return copy_evenly(work, began_ns, self.duration_ns // self.num_chunks)
        return work()
