"""Evaluate where llama.cpp puts the tensors of a file, and compare that with its log.

The evaluation is ours: of llama.cpp's arguments over the file's tensor table. The rules are those
of src/llama-model.cpp at 0c1e57098. The input embedding stays on the host, the last layers go to
devices, and the first override that matches a name wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwprofiles.units import MIB
from sim.model.importers.gguf_file import read_header
from sim.model.importers.gguf_tensors import block_index
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.overrides import HOST, CpuExperts, Override
from sim.runtimes.llama_cpp.placement import layer_devices
from validation.runtimes.llama_cpp.load_log import LoadLog

INPUT = "token_embd.weight"
LOG_STEP_BYTES = 0.01 * MIB
"""Step of the log's sizes of buffers, which have two digits after the point of a MiB."""

SMALL_BYTES = 0.5 * MIB
"""Most bytes by which a small buffer may be padded, over all its tensors."""

PADDED_FRACTION = 1e-3
"""Share of its size by which a larger buffer may be padded, because it holds more tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBytes:
    """Bytes of weights on the host, then on each device.

    ``expected`` is by our evaluation, ``logged`` by the log. ``num_overridden`` counts tensors that
    an override moves away from their layer.
    """

    expected: tuple[float, ...]
    logged: tuple[float, ...]
    num_overridden: int

    @property
    def matches(self) -> bool:
        """Whether both agree, except for rounding in the log and padding of buffers."""
        pairs = zip(self.expected, self.logged, strict=True)
        return all(
            abs(own - said) <= SMALL_BYTES + LOG_STEP_BYTES + PADDED_FRACTION * own
            for own, said in pairs
        )


def expected_bytes(
    file: Path, arguments: LlamaArguments, memory_bytes: Sequence[float]
) -> tuple[tuple[float, ...], int]:
    """Bytes on the host and on devices of that much memory, and how many tensors overrides move.

    Raises InputError for a file that cannot be read.
    """
    tensors = read_header(file).tensors
    num_layers = 1 + max((block_index(tensor.name) or 0) for tensor in tensors)
    moe = tuple(
        index for index in range(num_layers) if _has_experts(index, [one.name for one in tensors])
    )
    homes = layer_devices(
        num_layers, arguments, memory_bytes, range(len(memory_bytes)) if memory_bytes else ()
    )
    # Without devices every buffer is the host's, whatever an override names.
    overrides = _overrides(arguments, num_layers, moe) if memory_bytes else ()
    totals = [0.0] * (len(memory_bytes) + 1)
    moved = 0
    names = {tensor.name for tensor in tensors}
    for tensor in tensors:
        home = _home(tensor.name, homes)
        # The first override that matches wins, as in llama.cpp.
        device = next((item.device for item in overrides if item.finds(tensor.name)), home)
        moved += device != home
        totals[device + 1] += tensor.num_bytes
        if tensor.name == INPUT and "output.weight" not in names and homes[-1] != HOST:
            totals[homes[-1] + 1] += tensor.num_bytes  # a tied head is stored a second time
    return tuple(totals), moved


def placed_bytes(
    file: Path,
    arguments: LlamaArguments,
    devices: Mapping[str, float],
    log: LoadLog,
) -> PlacedBytes:
    """Compare the evaluation with the log. ``devices`` gives each device's memory in bytes, in
    order.
    """
    expected, moved = expected_bytes(file, arguments, tuple(devices.values()))
    return PlacedBytes(
        expected=expected,
        logged=tuple(log.weight_bytes(tuple(devices))),
        num_overridden=moved,
    )


def _has_experts(index: int, names: Sequence[str]) -> bool:
    return f"blk.{index}.ffn_down_exps.weight" in names


def _overrides(
    arguments: LlamaArguments, num_layers: int, moe_layers: tuple[int, ...]
) -> tuple[Override, ...]:
    found: list[Override] = []
    for item in arguments.placements:
        if isinstance(item, CpuExperts):
            found.extend(item.overrides(num_layers, moe_layers))
        else:
            found.append(item)
    return tuple(found)


def _home(name: str, homes: Sequence[int]) -> int:
    """Return the device of a tensor before overrides.

    The input is on the host; tensors behind the layers are with the head.
    """
    if name == INPUT:
        return HOST
    index = block_index(name)
    return homes[-1] if index is None else homes[index]
