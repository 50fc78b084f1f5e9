"""A stream without an accelerator: work is done when it is given, its clock runs as a queue's
would.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

WORK_NS = 100_000
"""How long anything takes on such a stream."""


@dataclass(frozen=True, kw_only=True)
class HostMark:
    """Reached at an instant of ``time.perf_counter_ns``."""

    instant_ns: int

    def wait(self) -> None:
        """See Mark."""
        time.sleep(max(0, self.instant_ns - time.perf_counter_ns()) * 1e-9)

    def ns_since(self, earlier: "HostMark") -> int:
        """See Mark."""
        return self.instant_ns - earlier.instant_ns


class HostStream:
    """A queue whose work starts when all before it has ended, and the marks it waits for are
    reached.
    """

    def __init__(self, name: str) -> None:
        self.name, self.num_waits = name, 0
        self._free_ns = time.perf_counter_ns()
        self._users: set[int] = set()

    @contextmanager
    def use(self) -> Iterator[None]:
        """See Stream: what is given takes WORK_NS from the block's end on, or where a mark is set
        behind it.
        """
        self._users.add(threading.get_ident())
        assert len(self._users) == 1, "one thread launches on a stream"
        yield

    def mark(self) -> HostMark:
        """See Stream; every second mark ends a piece of work."""
        self._free_ns = max(self._free_ns, time.perf_counter_ns())
        mark = HostMark(instant_ns=self._free_ns)
        self._free_ns += WORK_NS
        return mark

    def wait_for(self, mark: HostMark) -> None:
        """See Stream."""
        self.num_waits += 1
        self._free_ns = max(self._free_ns, mark.instant_ns)
