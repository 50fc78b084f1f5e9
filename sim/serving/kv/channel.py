"""The cost of moving KV: a fixed time for each message, and its bytes at a rate."""

from dataclasses import dataclass

from hwprofiles import InputError, Kind, Provenance
from hwprofiles.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A way to move KV: time = messages · ``message_ns`` + bytes / ``bytes_per_s``."""

    name: str
    message_ns: float
    bytes_per_s: float
    provenance: Provenance

    def __post_init__(self) -> None:
        if self.message_ns < 0 or not 0 < self.bytes_per_s < float("inf"):
            raise InputError(
                f"{self.name}: message_ns must be at least 0 and bytes_per_s above 0, got {self.message_ns:g} and {self.bytes_per_s:g}"
            )

    def duration_ns(self, num_bytes: float, num_messages: int = 1) -> float:
        """Time in ns of a transfer that is cut into ``num_messages`` messages."""
        return num_messages * self.message_ns + num_bytes * NS_PER_S / self.bytes_per_s

    def effective_bytes_per_s(self, message_bytes: float) -> float:
        """The rate in bytes/s that messages of that size reach, one after the other."""
        return message_bytes * NS_PER_S / self.duration_ns(message_bytes)


_FITTED = Provenance(
    kind=Kind.FITTED,
    source="fitted to the rates and latencies that LMCache's report prints, arXiv 2510.09665",
    date="2025-10",
)
HOST_TO_GPU = Channel(name="host to GPU", message_ns=4.65e3, bytes_per_s=50e9, provenance=_FITTED)
"""The channel from pinned memory to an H100 over PCIe 5, one message for each run of contiguous
bytes.
"""
