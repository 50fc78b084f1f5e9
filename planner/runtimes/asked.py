"""The question of a plan for a runtime: model, machine, load and limits, in the runtime's terms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from planner.runtimes.load import RuntimeLimits, RuntimeLoad, with_room
from planner.runtimes.option import Option, Timing, option_of
from sim.costs.host_room import RESERVED_BYTES
from sim.memo import Memo
from sim.model.model import Model
from sim.runtimes.arguments import Arguments
from sim.runtimes.asking import read_runtime_arguments
from sim.runtimes.disk import maps_file
from sim.runtimes.host import RuntimeHost
from sim.runtimes.memory import DeviceMemory
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.placing import placement_of
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.tensors import EXPERT_PARTS, TensorTable

SCORES: Mapping[str, Callable[[Timing], float]] = MappingProxyType(
    {
        "throughput": lambda timing: timing.end_to_end_s,
        "latency": lambda timing: timing.end_to_end_s,
        "ttft": lambda timing: timing.ttft_s,
        "tpot": lambda timing: timing.tpot_s,
        "cost": lambda timing: timing.end_to_end_s,
    }
)
"""The seconds that are minimised, by the name of the objective.

For one user, all objectives but ``ttft`` and ``tpot`` are the time of a round.
"""

MOST_PLACEMENTS = 256
"""Placements that a search keeps: it asks for the same ones with every size of a micro-batch."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The question of one search.

    ``tensors`` are those of the model's file, or the model's classes of weights shared out.
    ``kv_types`` are the types of keys and values that are allowed. Host memory limits nothing where
    no source states its size.
    """

    runtime: str
    model: Model
    quantization: str
    host: RuntimeHost
    load: RuntimeLoad
    limits: RuntimeLimits
    tensors: TensorTable
    kv_types: tuple[str, ...] = ("f16",)
    objective: str = "throughput"
    max_ttft_s: float | None = None

    # Every filling of a GPU asks for these, so they are summed once.
    @cached_property
    def matrix_bytes(self) -> tuple[tuple[int, int, int], ...]:
        """Bytes of each layer's matrices gate, up and down, of all experts together."""
        found = []
        for layer in self.tensors:
            gate, up, down = (
                sum(tensor.num_bytes for tensor in layer if tensor.part is part)
                for part in EXPERT_PARTS
            )
            found.append((gate, up, down))
        return tuple(found)

    @cached_property
    def placements(self) -> Memo:
        """Placements that were computed, by the layout or count that determines them; nobody may
        change one.
        """
        return Memo(MOST_PLACEMENTS)

    def question(self, arguments: Arguments) -> RuntimeQuestion:
        """The arguments as a question about one round of the load."""
        return RuntimeQuestion(
            runtime=self.runtime,
            arguments=arguments,
            model=self.model,
            quantization=self.quantization,
            host=self._own_host,
            context_tokens=self.load.decode_context_tokens,
            prompt_tokens=self.load.prompt_tokens,
            prompt_context_tokens=self.load.prompt_context_tokens,
            tensors=self.tensors,
        )

    def option(self, arguments: Arguments, placement: DevicePlacement | None = None) -> Option:
        """Return the arguments as an option.

        Without a ``placement``, the arguments say where everything goes. Raises InputError where
        the arguments do not fit the machine's devices.
        """
        question = self.question(arguments)
        placed = placement_of(question) if placement is None else placement
        return option_of(question, placed, self.load)

    def read(self, line: str) -> Arguments:
        """Read a line of arguments, with room for the load's keys and values where it states none.

        Raises InputError as the runtime's reader does.
        """
        return with_room(read_runtime_arguments(self.runtime, line), self.load)

    def room_bytes(self) -> dict[str, float]:
        """Bytes that a plan may take of each device whose memory is known."""
        room = {
            f"gpu{index}": gpu.memory_bytes - self.limits.margin_vram_bytes
            for index, gpu in enumerate(self.host.gpus)
        }
        if self.host.memory_bytes is not None:
            reserved = max(self.limits.reserve_ram_bytes, RESERVED_BYTES)
            room["host"] = self.host.memory_bytes - reserved
        return room

    def missing_bytes(
        self, memory: Mapping[str, DeviceMemory], arguments: Arguments
    ) -> dict[str, float]:
        """Return the bytes that each device is short of; devices with room enough are left out.

        Weights of a mapped file need no room on a host with a disk. What does not stay there is
        read again, which is slow, but runs.
        """
        room = self.room_bytes()
        is_mapped = self.host.disk is not None and maps_file(arguments)
        held = {
            name: own.total - (own.weights if name == "host" and is_mapped else 0)
            for name, own in memory.items()
        }
        return {
            name: size - room[name]
            for name, size in held.items()
            if name in room and size > room[name]
        }

    def chunk_sizes(self, sizes: Sequence[int], default: int) -> list[int]:
        """Return the sizes of a prompt's chunk, in tokens, that are worth a try.

        The rising ``sizes`` up to the first that takes the whole prompt are worth a try. The
        ``default`` is always one of them.
        """
        limit = max(self.load.prompt_tokens, default)
        first_over = next((size for size in sizes if size >= limit), sizes[-1])
        return [size for size in sizes if size <= first_over]

    def fits(self, option: Option) -> bool:
        """Whether every device has room for the option."""
        return not self.missing_bytes(option.memory, option.arguments)

    @cached_property
    def _own_host(self) -> RuntimeHost:
        """The host without the memory that other programs reserve beyond RESERVED_BYTES."""
        others = max(0, self.limits.reserve_ram_bytes - RESERVED_BYTES)
        memory = self.host.memory_bytes
        return self.host if memory is None else replace(self.host, memory_bytes=memory - others)

    def rank(self, timing: Timing) -> tuple[float, float]:
        """Return what ranks options: by how many seconds the first token is late, then the
        objective.
        """
        limit = self.max_ttft_s
        late_s = 0.0 if limit is None else max(0.0, timing.ttft_s - limit)
        # A late first token is worse than any speed.
        return late_s, SCORES[self.objective](timing)
