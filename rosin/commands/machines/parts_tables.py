"""The names of the parts that a line may name, by family."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from hwprofiles.parts import CpuPart, GpuPart, PartsLibrary


def parts_list(library: PartsLibrary) -> Iterator[RenderableType]:
    """Families of GPUs, then of CPUs, each with its names."""
    # A card that is sold in several sizes has one name.
    firsts = [sizes[0] for sizes in library.gpus.values()]
    yield from _families("GPUs", firsts)
    yield from _families("CPUs", library.cpus.values())


def _families(title: str, parts: Iterable[GpuPart | CpuPart]) -> Iterator[RenderableType]:
    by_family: dict[str, list[str]] = {}
    for part in parts:
        by_family.setdefault(part.family, []).append(part.name)
    yield Text(f"{title}\n", style="bold")
    for family, names in by_family.items():
        yield Text.assemble((family, "bold"), f": {', '.join(names)}")
    yield Text()
