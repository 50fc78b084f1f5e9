"""The numbers that the sliders of pages move: those of the PC, and those of its load."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwprofiles import Kind, Machine
from hwprofiles.units import GB, GIB

STEPS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Multiples of the PC's own number; a slider reaches from the first to the last.

They are about the square root of two apart. A page that cannot plan holds a plan for each.
"""
DIGITS = 4
"""The digits of a number in a field; a field that was not changed stands for the exact number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PcNumber:
    """A number of the PC that a slider moves.

    ``own`` returns a machine's number in ``unit``, or None if the machine has none to move.
    ``overrides`` returns the assignments that give a machine a new number.
    """

    name: str
    label: str
    unit: str
    own: Callable[[Machine], float | None]
    overrides: Callable[[Machine, float], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadNumber:
    """A number of the load: its slider's range and its first value.

    The slider reaches from ``least`` to ``most``; a field takes larger numbers, too.
    """

    name: str
    label: str
    unit: str
    least: int
    most: int
    first: int | None


def _vram(machine: Machine) -> float | None:
    return machine.gpu.memory_bytes.effective / GIB if machine.has_gpu else None


def _ram(machine: Machine) -> float | None:
    memory = machine.cpu.memory_bytes
    return None if memory is None else memory.effective / GIB


def _link(machine: Machine) -> float | None:
    return machine.link.h2d.bytes_per_s.effective / GB if machine.has_gpu else None


def _dram(machine: Machine) -> float | None:
    """Return the listed rate of main memory in GB/s, or None for a measured or published rate.

    A rate set by hand would be read as a datasheet's, so a measured rate would jump.
    """
    # The listed rate is moved: a runtime's plan reads that one, and not the share that is reached.
    rate = machine.cpu.memory_bytes_per_s
    return None if rate.kind in (Kind.MEASURED, Kind.PUBLISHED) else rate.value / GB


def _link_overrides(machine: Machine, value: float) -> tuple[str, ...]:
    """Return the assignments that scale both directions of the link, pinned and pageable, alike."""
    times = value * GB / machine.link.h2d.bytes_per_s.effective
    # The slider is the pinned rate to the GPU; all other rates keep their ratio to it.
    found = []
    for way in ("h2d", "d2h"):
        direction = getattr(machine.link, way)
        for key in ("bytes_per_s", "pageable_bytes_per_s"):
            rate = getattr(direction, key)
            if rate is not None:
                found.append(f"link.{way}.{key}={rate.effective * times:.6g}")
    return tuple(found)


GPU_MEMORY = PcNumber(
    name="vram_gib",
    label="GPU memory",
    unit="GiB",
    own=_vram,
    overrides=lambda _, value: (f"gpu.memory_bytes={value * GIB:.0f}",),
)
PC_NUMBERS = (
    GPU_MEMORY,
    PcNumber(
        name="ram_gib",
        label="Main memory",
        unit="GiB",
        own=_ram,
        overrides=lambda _, value: (f"cpu.memory_bytes={value * GIB:.0f}",),
    ),
    PcNumber(
        name="link_gb_per_s",
        label="Link to the GPU",
        unit="GB/s",
        own=_link,
        overrides=_link_overrides,
    ),
    PcNumber(
        name="dram_gb_per_s",
        label="Speed of main memory, as listed",
        unit="GB/s",
        own=_dram,
        overrides=lambda _, value: (f"cpu.memory_bytes_per_s={value * GB:.6g}",),
    ),
)

PROMPT = LoadNumber(
    name="prompt_tokens", label="Prompt", unit="tokens", least=1, most=131_072, first=2_000
)
LOAD_NUMBERS = (
    PROMPT,
    LoadNumber(
        name="output_tokens", label="Answer", unit="tokens", least=1, most=16_384, first=300
    ),
    LoadNumber(
        name="room_tokens",
        label="Room for a context of",
        unit="tokens",
        least=256,
        most=262_144,
        first=None,
    ),
    LoadNumber(
        name="batch_size", label="Answers at once", unit="sequences", least=1, most=64, first=1
    ),
)


def shown(value: float) -> str:
    """A number of the PC as its field shows it."""
    return f"{value:.{DIGITS}g}"


def own_numbers(machine: Machine) -> dict[str, float]:
    """Return the PC's own numbers that sliders can move, by name."""
    found = {number.name: number.own(machine) for number in PC_NUMBERS}
    return {name: value for name, value in found.items() if value is not None}


def overrides_of(machine: Machine, moved: Mapping[str, float]) -> tuple[str, ...]:
    """Return the assignments that give the machine the moved numbers, in the order of the page."""
    return tuple(
        override
        for number in PC_NUMBERS
        if number.name in moved
        for override in number.overrides(machine, moved[number.name])
    )
