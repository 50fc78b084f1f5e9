"""Models larger than host memory: what is read from the disk.

llama.cpp maps its file. The page cache keeps what was used last: dense weights first, since every
token uses them. A prompt goes through all experts in order, which leaves none of them in a smaller
cache. Misses of a GPU's cache of experts are read from the disk, too.
"""

from dataclasses import dataclass

import numpy as np

from hwprofiles import InputError
from hwprofiles.units import KIB, format_bytes
from sim.costs.host_room import RESERVED_BYTES
from sim.model.model import Model
from sim.runtimes.arguments import Arguments
from sim.runtimes.caching.locality import Locality, locality_of
from sim.runtimes.host import HostDisk
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.memory import kv_bytes_of
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.question import RuntimeQuestion

READ_AHEAD_BYTES = 128 * KIB
"""The bytes that one page fault reads (Linux's default read_ahead_kb)."""

WHOLE_MODES = {
    "none": "--no-mmap (--load-mode none)",
    "dio": "--load-mode dio",
    "mlock": "--mlock",
    "mmap+mlock": "--load-mode mmap+mlock",
}
"""Load modes of llama.cpp that need room for the whole file, and the flags that ask for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoom:
    """The room for weights in host memory, and the host's dense and expert weights, in bytes."""

    room_bytes: float
    dense_bytes: float
    expert_bytes: float

    @property
    def is_enough(self) -> bool:
        """Whether host memory has room for all of the host's weights."""
        return self.short_bytes == 0

    @property
    def expert_share(self) -> float:
        """The share of the experts that memory holds beside the dense weights."""
        if not self.expert_bytes:
            return 1.0
        return float(np.clip((self.room_bytes - self.dense_bytes) / self.expert_bytes, 0.0, 1.0))

    @property
    def short_bytes(self) -> float:
        """The bytes of weights, dense and experts, that host memory has no room for."""
        return max(0.0, self.dense_bytes + self.expert_bytes - self.room_bytes)

    @property
    def missing_dense_bytes(self) -> float:
        """The bytes of dense weights that host memory has no room for."""
        return max(0.0, self.dense_bytes - self.room_bytes)


def host_room(question: RuntimeQuestion, placement: DevicePlacement) -> HostRoom | None:
    """Return the room for weights in host memory, if some must be read from a disk.

    None where host memory is not stated, everything fits, or no disk is stated. Raises InputError
    where the program needs the whole file in memory and has no room for it.
    """
    room = _room(question, placement)
    if room is None or room.is_enough:
        return None
    said = _loads_whole_by(question)
    if said is not None:
        short = format_bytes(room.short_bytes)
        raise InputError(f"{said}: host memory is {short} too small for that")
    return None if question.host.disk is None else room


def _room(question: RuntimeQuestion, placement: DevicePlacement) -> HostRoom | None:
    host = question.host
    # Not stated is not "too small": nothing is charged for what nobody said.
    if host.memory_bytes is None:
        return None
    kv_bytes = float(kv_bytes_of(question, placement)[0])
    sizes = _expert_bytes(question.model)
    experts = float(np.sum(placement.expert_fraction[:, 0] * sizes))
    return HostRoom(
        # A host of less than that has no room at all, not a negative one.
        room_bytes=max(0.0, host.memory_bytes - RESERVED_BYTES - kv_bytes),
        dense_bytes=float(placement.weight_bytes[0]) - experts,
        expert_bytes=experts,
    )


def unread_bytes(question: RuntimeQuestion, placement: DevicePlacement) -> float:
    """Return the bytes of the host's weights that are priced as if they fit, though they do not.

    Host memory has no room for them, and no disk is stated to read them from. 0 where the memory is
    not stated.
    """
    room = _room(question, placement)
    if room is None or room.is_enough or question.host.disk is not None:
        return 0.0
    return room.short_bytes


def maps_file(arguments: Arguments) -> bool:
    """Whether the program maps its file, so that weights may leave host memory and be read again."""
    return isinstance(arguments, LlamaArguments) and _unmapped_by(arguments) is None


def _loads_whole_by(question: RuntimeQuestion) -> str | None:
    """Return what loads all weights into memory: a flag of llama.cpp, or the program itself.

    None where nothing does.
    """
    if isinstance(question.arguments, LlamaArguments):
        return _unmapped_by(question.arguments)
    return f"{question.runtime} loads all weights of the host into memory"


def _unmapped_by(arguments: LlamaArguments) -> str | None:
    """Return the flag by which weights are loaded, locked or repacked, not mapped, if any."""
    if arguments.is_runtime_repacked:
        return "-rtr"
    return WHOLE_MODES.get(arguments.load_mode)


def decode_disk_s(
    question: RuntimeQuestion, placement: DevicePlacement, locality: Locality | None = None
) -> float:
    """Return the seconds of reading from the disk for one token.

    Read are the experts that the page cache misses, and the dense weights that it has no room for.
    ``locality`` None stands for that of the model.
    """
    room = host_room(question, placement)
    if room is None:
        return 0.0
    assert question.host.disk is not None
    # The page cache is an LRU over pages; a layer's experts are taken to share it as a cache of
    # experts would.
    known = locality or locality_of(question.model.name)
    read = room.missing_dense_bytes + expert_misses(question, placement, known, room.expert_share)
    return read / mapped_bytes_per_s(question.host.disk, _threads(question))


def prompt_disk_s(question: RuntimeQuestion, placement: DevicePlacement, num_batches: int) -> float:
    """Return the seconds of reading from the disk for a prompt.

    Each micro-batch goes through all experts of the host in order.
    """
    room = host_room(question, placement)
    if room is None:
        return 0.0
    assert question.host.disk is not None
    # An LRU that is walked through in order keeps nothing that comes again: all is read each time.
    read = num_batches * (room.missing_dense_bytes + room.expert_bytes)
    return read / mapped_bytes_per_s(question.host.disk, _threads(question))


def expert_misses(
    question: RuntimeQuestion, placement: DevicePlacement, locality: Locality, share: float
) -> float:
    """Return the bytes of the host's experts that a token chooses and an LRU does not hold.

    ``share`` is the share of the experts that the LRU holds.
    """
    asked = question.arguments.experts_per_token
    chosen = np.array(
        [min(layer.top_k, asked or layer.top_k) for layer in question.model.layers], float
    )
    each = np.array([layer.expert_bytes for layer in question.model.layers], float)
    read = float(np.sum(placement.expert_fraction[:, 0] * chosen * each))
    return read * locality.misses("lru", share)


def mapped_bytes_per_s(disk: HostDisk, threads: int) -> float:
    """The rate of reading by page faults: each thread waits for one read-ahead at a time."""
    # A fault waits for its read, so a thread has one request under way, where disks want many.
    one = READ_AHEAD_BYTES / (disk.latency_s + READ_AHEAD_BYTES / disk.bytes_per_s)
    return min(disk.bytes_per_s, threads * one)


def _threads(question: RuntimeQuestion) -> int:
    host = question.host
    return question.arguments.threads or host.cores_per_socket * host.sockets


def _expert_bytes(model: Model) -> np.ndarray:
    return np.array([layer.num_experts * layer.expert_bytes for layer in model.layers], float)
