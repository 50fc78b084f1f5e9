"""Prefill and decode apart: KV goes from a prefill instance through a link into a decode instance's
buffer, and from there to its blocks.

The semantics are those of LMCache's disaggregated prefill (arXiv 2510.09665). Chunks leave as they
are computed, first come, first served. A decode starts once the last chunk is there. A prompt takes
its room in the buffer before its first chunk leaves. The prompt gives the room back when the decode
instance has blocks for it. While there is no room, the prefill instance stands still.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Annotated, Any

import simpy
from pydantic import Field

from hwprofiles.file_part import FilePart
from hwprofiles.limits import Devices, Tokens
from sim.serving.link import LinkQueue, TransferRate
from sim.serving.numbers import Above
from sim.serving.sequence import Sequence

Process = Generator[simpy.Event, Any, None]


class Disaggregation(FilePart):
    """The numbers of instances that prefill and that decode, and the link that each prefill
    instance sends over.

    A message carries one chunk of ``chunk_tokens``. Each decode instance has a buffer of
    ``buffer_bytes`` that receives prompts (None: unlimited).
    """

    num_prefill: Devices
    num_decode: Devices
    link: TransferRate
    chunk_tokens: Tokens = 256
    buffer_bytes: Annotated[Above, Field(ge=1)] | None = None


class Buffer:
    """The room at a decode instance for prompts on their way.

    Room is granted for whole prompts, first come, first served.
    """

    def __init__(self, env: simpy.Environment, capacity_bytes: int | None) -> None:
        self.capacity_bytes = capacity_bytes
        self.num_waiting = 0
        self.peak_bytes = self.used_bytes = 0
        self._room = (
            None
            if capacity_bytes is None
            else simpy.Container(env, capacity=capacity_bytes, init=capacity_bytes)
        )

    def claim(self, num_bytes: int) -> Process:
        """Take room for ``num_bytes``, and wait until there is room."""
        if self._room is not None:
            # SimPy serves waiting claims in order: a short prompt does not overtake a long one.
            yield self._room.get(num_bytes)
        self.used_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)

    def give_back(self, num_bytes: int) -> None:
        """Free the room of a prompt that is in the decode instance's blocks."""
        self.used_bytes -= num_bytes
        if self._room is not None:
            self._room.put(num_bytes)


@dataclass(slots=True, kw_only=True)
class _Shipment:
    """A prompt that is being sent: its buffer, its bytes, the tokens that have left, and when the
    last of these arrive.
    """

    buffer: Buffer
    num_bytes: int
    shipped_tokens: int = 0
    arrival_ns: int = 0


class Handover:
    """The sending side of one prefill instance.

    ``buffer_for`` returns the buffer that a prompt goes to.
    """

    def __init__(
        self,
        env: simpy.Environment,
        options: Disaggregation,
        bytes_per_token: int,
        buffer_for: Callable[[Sequence], Buffer],
    ) -> None:
        self.link = LinkQueue()
        self.stalled_ns = 0
        self.sent_bytes = 0
        self._env = env
        self._options = options
        self._bytes_per_token = bytes_per_token
        self._buffer_for = buffer_for
        self._shipments: dict[int, _Shipment] = {}

    def ship(self, sequence: Sequence, computed_tokens: int) -> Process:
        """Send the chunks of a prompt that are full once ``computed_tokens`` have KV, and the rest
        at its end.

        Waits while the buffer has no room for the prompt.
        """
        shipment = self._shipments.get(sequence.number)
        # Room for the whole prompt is taken before its first chunk leaves. With room chunk by
        # chunk, two prompts could each hold half a buffer and wait for each other without end.
        if shipment is None:
            shipment = _Shipment(
                buffer=self._buffer_for(sequence),
                num_bytes=sequence.prompt_tokens * self._bytes_per_token,
            )
            self._shipments[sequence.number] = shipment
            before_ns = int(self._env.now)
            yield from shipment.buffer.claim(shipment.num_bytes)
            self.stalled_ns += int(self._env.now) - before_ns
        size = self._options.chunk_tokens
        # Chunks of a prompt are full except for its last, which leaves once all of the prompt is
        # computed.
        end = (
            computed_tokens
            if computed_tokens >= sequence.prompt_tokens
            else computed_tokens // size * size
        )
        tokens = end - shipment.shipped_tokens
        if tokens > 0:
            shipment.shipped_tokens = end
            self.sent_bytes += tokens * self._bytes_per_token
            duration_ns = self._options.link.duration_ns(
                -(-tokens // size), tokens * self._bytes_per_token
            )
            shipment.arrival_ns = self.link.reserve(int(self._env.now), duration_ns)

    def arrived(self, sequence: Sequence) -> Process:
        """Wait until all of the prompt is in the buffer."""
        # The link serves in order, so the arrival of the last chunk is that of the whole prompt.
        wait_ns = self._shipments[sequence.number].arrival_ns - int(self._env.now)
        if wait_ns > 0:
            yield self._env.timeout(wait_ns)

    def unload(self, sequence: Sequence) -> None:
        """Free the room of a prompt in its buffer, as the decode instance has blocks for it."""
        shipment = self._shipments.pop(sequence.number)
        shipment.buffer.give_back(shipment.num_bytes)
