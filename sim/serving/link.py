"""Moving KV: how long a transfer takes, and the queue of a link."""

from typing import Annotated

from pydantic import Field

from hwprofiles import Kind, Provenance
from hwprofiles.file_part import FilePart
from hwprofiles.quantity import UNDATED, SourceDate
from hwprofiles.units import NS_PER_S
from sim.serving.numbers import Above, Latency


class TransferRate(FilePart):
    """The rate of a link and the latency of each message on it.

    A transfer takes messages · ``latency_ns`` + bytes / ``bytes_per_s``. ``kind``, ``source`` and
    ``date`` say where both numbers are from.
    """

    bytes_per_s: Above
    latency_ns: Latency = 0.0
    kind: Kind = Kind.ASSUMED
    source: Annotated[str, Field(min_length=1)] = "stated in the serving file"
    date: SourceDate = UNDATED

    @property
    def provenance(self) -> Provenance:
        """The provenance that is stated for both numbers."""
        return Provenance(kind=self.kind, source=self.source, date=self.date)

    def duration_ns(self, num_messages: int, num_bytes: float) -> int:
        """The time of a transfer, to the nearest ns."""
        return round(num_messages * self.latency_ns + num_bytes / self.bytes_per_s * NS_PER_S)


class LinkQueue:
    """The queue of a link that carries one transfer at a time, first come, first served.

    Since durations are known, the end of a transfer is known as it comes.
    """

    def __init__(self) -> None:
        self.free_ns = 0
        self.busy_ns = 0

    def wait_ns(self, now_ns: int) -> int:
        """Return the ns for which a transfer that comes now waits."""
        return max(0, self.free_ns - now_ns)

    def reserve(self, now_ns: int, duration_ns: int) -> int:
        """Add a transfer that comes now, and return its end in ns."""
        # No process and no queue: the end of the last reservation is all that later transfers
        # depend on.
        self.free_ns = max(now_ns, self.free_ns) + duration_ns
        self.busy_ns += duration_ns
        return self.free_ns
