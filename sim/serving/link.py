"""Moving KV: how long a transfer takes, and the queue of a link."""

from dataclasses import dataclass

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRate:
    """A transfer takes messages · ``latency_ns`` + bytes / ``bytes_per_s``."""

    bytes_per_s: float
    latency_ns: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.bytes_per_s < float("inf"):
            raise InputError(f"bytes_per_s must be above 0, got {self.bytes_per_s:g}")
        if not 0 <= self.latency_ns < float("inf"):
            raise InputError(f"latency_ns must be at least 0, got {self.latency_ns:g}")

    def duration_ns(self, num_messages: int, num_bytes: float) -> int:
        """Of a transfer, to the nearest ns."""
        return round(num_messages * self.latency_ns + num_bytes / self.bytes_per_s * NS_PER_S)


class LinkQueue:
    """One transfer at a time, first come, first served: since durations are known, when each ends
    is known as it comes.
    """

    def __init__(self) -> None:
        self.free_ns = 0
        self.busy_ns = 0

    def wait_ns(self, now_ns: int) -> int:
        """How long a transfer that comes now waits."""
        return max(0, self.free_ns - now_ns)

    def reserve(self, now_ns: int, duration_ns: int) -> int:
        """A transfer comes: returns when it ends."""
        # No process and no queue: the end of the last reservation is all that later transfers
        # depend on.
        self.free_ns = max(now_ns, self.free_ns) + duration_ns
        self.busy_ns += duration_ns
        return self.free_ns
