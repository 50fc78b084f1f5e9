"""The library of parts: GPUs, CPUs and kinds of memory, read once and found by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

from hwprofiles.efficiencies import Efficiencies, efficiencies
from hwprofiles.parts.cpu_part import CpuPart, core_designs, cpu_parts
from hwprofiles.parts.gpu_part import GpuPart, gpu_parts
from hwprofiles.parts.memory_part import MemoryType, memory_types
from hwprofiles.parts.names import key_of, keys_of
from hwprofiles.yaml_file import read_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsLibrary:
    """Every part by name, and the names that each spelling stands for.

    ``gpus`` holds the sizes of memory of each GPU, the usual one first.
    """

    gpus: Mapping[str, tuple[GpuPart, ...]]
    cpus: Mapping[str, CpuPart]
    memory_types: Mapping[str, MemoryType]
    assumed: Mapping[str, Any]
    efficiencies: Efficiencies
    names_by_key: Mapping[str, tuple[str, ...]]

    def named(self, text: str) -> tuple[str, ...]:
        """The names of GPUs and CPUs that a text stands for: none, one, or several where the text
        is too short to tell them apart.
        """
        return self.names_by_key.get(key_of(text), ())


@cache
def parts_library() -> PartsLibrary:
    """Return the library of parts that ships with Rosin. The first call reads its files."""
    gpus = _by_name(_gpus())
    cpu_data = _read("cpus")
    designs = core_designs(cpu_data)
    families = [cpu_parts(family, designs) for family in cpu_data["families"]]
    cpus = {part.name: part for part in chain.from_iterable(families)}
    memory = _read("memory")
    return PartsLibrary(
        gpus=gpus,
        cpus=cpus,
        memory_types=memory_types(memory),
        assumed=memory["assumed"],
        efficiencies=efficiencies(),
        names_by_key=_names_by_key(gpus, cpus),
    )


def with_cpu(library: PartsLibrary, part: CpuPart) -> PartsLibrary:
    """The library with one more CPU, found by its whole name."""
    names = {**library.names_by_key, key_of(part.name): (part.name,)}
    return replace(library, cpus={**library.cpus, part.name: part}, names_by_key=names)


def _gpus() -> Iterable[GpuPart]:
    for family in _read("gpus")["families"]:
        yield from gpu_parts(family)


def _by_name(parts: Iterable[GpuPart]) -> dict[str, tuple[GpuPart, ...]]:
    found: dict[str, tuple[GpuPart, ...]] = {}
    for part in parts:
        found[part.name] = (*found.get(part.name, ()), part)
    return found


def _names_by_key(
    gpus: Mapping[str, tuple[GpuPart, ...]],
    cpus: Mapping[str, CpuPart],
) -> dict[str, tuple[str, ...]]:
    """The names of parts by each spelling. A whole name goes before the shortened name of another
    part.

    A CPU that is sold in one piece with a GPU is found as that GPU.
    """
    whole: dict[str, tuple[str, ...]] = {}
    shortened: dict[str, tuple[str, ...]] = {}
    for name, aliases in _spellings(gpus, cpus):
        for spelling in (name, *aliases):
            _add(whole, key_of(spelling), name)
            # Written as one word, what systems put around a name is found as part of it.
            _add(whole, key_of("".join(spelling.split())), name)
            for key in keys_of(spelling):
                _add(shortened, key, name)
    return shortened | whole


def _spellings(
    gpus: Mapping[str, tuple[GpuPart, ...]],
    cpus: Mapping[str, CpuPart],
) -> Iterable[tuple[str, tuple[str, ...]]]:
    for name, sizes in gpus.items():
        yield name, sizes[0].aliases
    for name, cpu in cpus.items():
        # Named, it would come without its GPU, and the machine would be wrong.
        if cpu.kind != "unified":
            yield name, ()


def _add(names: dict[str, tuple[str, ...]], key: str, name: str) -> None:
    known = names.get(key, ())
    if name not in known:
        names[key] = (*known, name)


def _read(name: str) -> dict[str, Any]:
    return read_yaml(Path(str(resources.files("hwprofiles") / "parts" / f"{name}.yaml")), "parts")
