"""Reading a line of parts: its GPUs, CPU, memory and disk, under the names of the library."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hwprofiles.errors import InputError, shortened
from hwprofiles.parts.cut import fewest_pieces
from hwprofiles.parts.gpu_part import GpuPart
from hwprofiles.parts.library import PartsLibrary, parts_library
from hwprofiles.parts.names import nearest
from hwprofiles.parts.spoken import (
    count_first,
    laptop_last,
    plain_device,
    plain_memory,
    singular,
    without_cores,
)
from hwprofiles.units import GB, GIB, MB, parse_number

BY_SOCKET = "2x(8x64GB DDR5-4800)"
# A bare "NVMe 7" would be 7 bytes a second, and "NVMe 2TB" is a size: neither is what was meant.
SLOWEST_DISK_BYTES_PER_S = MB
FASTEST_DISK_BYTES_PER_S = 100 * GB

ORDER = "[Nx]GPU [SIZE] [PCIe G xL] + [Nx]CPU + CHANNELSxSIZE TYPE-SPEED + NVMe RATE"
GRAMMAR = f"{ORDER}, memory by socket as {BY_SOCKET}"
EXAMPLE = "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"

MAX_PART = 200
"""The most characters of a part; no name with its count, size and link has as many."""
_TOO_LARGE = re.compile(r"\d{7}")
"""Seven digits in a row. No count, size, speed or name of a part has so many."""
_COUNT = re.compile(r"(?:(?P<count>\d{1,2})\s*[x×]\s*)?(?P<rest>.+)", re.IGNORECASE)
_PCIE = re.compile(
    r"\b(?:pcie|pci-e|gen)[\s-]*(?P<generation>\d)(?:\.0)?\s*[x×]\s*(?P<lanes>\d+)\b",
    re.IGNORECASE,
)
_SIZE = re.compile(r"(?<![\w.])(?P<gib>\d{1,3})\s*(?:gb|gib|g)\b", re.IGNORECASE)
_MEMORY = re.compile(
    r"(?:(?P<sockets>\d+)\s*[x×]\s*(?P<open>\())?\s*"
    r"(?:(?P<modules>\d+)\s*[x×]\s*)?(?P<gib>\d+|\?)\s*(?:gb|gib|g)\s*"
    r"(?P<type>(?:lp)?ddr\dx?)?(?:[\s-]*(?P<speed>\d+))?\s*(?P<close>\))?",
    re.IGNORECASE,
)
_INSIDE = re.compile(r"(?P<before>\d+\s*[x×]\s*\()(?P<inside>.*)\)", re.IGNORECASE)
"""Memory by socket, ``2x(8x64GB DDR5-4800)``, with any other memory in the brackets."""
_DISK = re.compile(r"(?:nvme|ssd|disk)(?:\s+ssd)?\s+(?P<rate>.+)", re.IGNORECASE)
_DISK_SIZE = re.compile(
    r"(?:(?:nvme|m\.2|ssd|disk|hdd|pcie|gen\s*\d|\d\.0|x4|[\d.]+\s*[tg]b)\s*)+", re.IGNORECASE
)
"""A disk with a size but no rate. Only the rate counts, so such a disk is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuItem:
    """A number of GPUs of one name. Memory, generation and lanes are None where the line leaves
    them out.
    """

    text: str
    count: int
    name: str
    memory_gib: int | None = None
    pcie_generation: int | None = None
    lanes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuItem:
    """A number of sockets with a CPU of one name."""

    text: str
    count: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryModules:
    """Memory modules of one kind: those of each socket, or of all sockets together where
    ``sockets`` is None.

    ``modules`` is None where only a total is written; ``module_gib`` is then the total in GiB.
    ``module_gib``, ``type_name`` and ``mt_per_s`` are None where the size, the kind or the speed is
    not written.
    """

    text: str
    sockets: int | None
    modules: int | None
    module_gib: int | None
    type_name: str | None
    mt_per_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskItem:
    """A disk. ``bytes_per_s`` is its read rate, None where only its size is written."""

    text: str
    bytes_per_s: float | None


Item = GpuItem | CpuItem | MemoryModules | DiskItem


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsLine:
    """The parts that a line names. ``text`` joins them by a plus with single spaces."""

    text: str
    gpus: tuple[GpuItem, ...] = ()
    cpu: CpuItem | None = None
    memory: MemoryModules | None = None
    disk: DiskItem | None = None


def parse_line(text: str, library: PartsLibrary) -> PartsLine:
    """Read a line of parts. Raises InputError, one line, that names the part not understood, the
    nearest names and the grammar.
    """
    parts = split_line(text)
    large = next((part for part in parts if _TOO_LARGE.search(part)), None)
    if large is not None:
        raise InputError(f"{shortened(large)}: a number in a part has at most 6 digits")
    long = next((part for part in parts if len(part) > MAX_PART), None)
    if long is not None:
        raise InputError(f"{shortened(long)}: a part has at most {MAX_PART} characters")
    line = PartsLine(text=" + ".join(parts))
    for part in parts:
        for item in _items(part, library):
            line = _with_item(line, item)
    return line


def split_line(text: str) -> list[str]:
    """Return the parts of a line, with single spaces. A plus, a comma and the like divide parts.
    The plus in a processor's name, such as ``8480+`` or ``AI Max+ 395``, does not.
    """
    # A plus divides where a space is before it or a word behind it.
    parts = re.split(r"\s\+\s*|\+(?=\w)|[,;|]\s+|\s[/&]\s|\n", f" {without_cores(text)} ")
    return [" ".join(part.split()) for part in parts if part.strip()]


def is_one_part(text: str) -> bool:
    """Whether a text is the spelling of at least one part of the library."""
    return bool(parts_library().named(text))


def nearest_part(text: str) -> str | None:
    """The name of the part whose spelling is nearest to a text; None where none is near."""
    names = nearest(text, parts_library().names_by_key)
    return names[0] if names else None


def _with_item(line: PartsLine, item: Item) -> PartsLine:
    if isinstance(item, GpuItem):
        return replace(line, gpus=(*line.gpus, item))
    if isinstance(item, CpuItem):
        _once(line.cpu, item, "2xNAME for two sockets of one CPU")
        return replace(line, cpu=item)
    if isinstance(item, MemoryModules):
        _once(line.memory, item, "memory once, by socket as 2x(8x64GB DDR5-4800)")
        return replace(line, memory=item)
    _once(line.disk, item, "one disk")
    return replace(line, disk=item)


def _once(known: Item | None, item: Item, right: str) -> None:
    if known is not None:
        raise InputError(f"parts {known.text!r} and {item.text!r}: write {right}")


def _items(part: str, library: PartsLibrary) -> list[Item]:
    """The item that a part names, else those that it names in a row. Raises InputError for none."""
    try:
        item = _item(part, library)
    except InputError:
        # An error of the whole is said of the whole, unless it is several parts.
        several = _in_a_row(part, library)
        if several is None:
            raise
        return several
    if item is not None:
        return [item]
    several = _in_a_row(part, library)
    if several is None:
        raise _not_understood(part, library)
    return several


def _item(part: str, library: PartsLibrary) -> Item | None:
    # Memory first: "2x32GB DDR5-4800" also begins like a count with a name.
    for read in (_memory, _disk, _device):
        item = read(part, library)
        if item is not None:
            return item
    return None


def _in_a_row(part: str, library: PartsLibrary) -> list[Item] | None:
    def read(text: str) -> Item | None:
        """Return the item that these words name; None where they name none."""
        try:
            return _item(text, library)
        except InputError:
            return None

    items: list[Item] | None = fewest_pieces(part.split(), read)
    if items is None:
        return None
    # Two sizes of memory leave open which is meant, and so do two names of a CPU.
    kinds = [type(item) for item in items if not isinstance(item, GpuItem)]
    if len(set(kinds)) < len(kinds):
        return None
    for before, item in pairwise(items):
        # A bare size behind a card may be a slip in the card's own: 3060 16GB.
        if isinstance(before, GpuItem) and isinstance(item, MemoryModules) and not item.type_name:
            return None
    return items


def _memory(part: str, library: PartsLibrary) -> MemoryModules | None:
    inside = _INSIDE.fullmatch(part)
    plain = plain_memory(part if inside is None else inside["inside"])
    if plain is None:
        return None
    match = _MEMORY.fullmatch(plain if inside is None else f"{inside['before']}{plain})")
    if match is None:
        return None
    type_name = None if match["type"] is None else match["type"].upper()
    speed = None if match["speed"] is None else int(match["speed"])
    _check_memory(part, type_name, speed, library)
    item = MemoryModules(
        text=part,
        sockets=_whole(match["sockets"], part),
        modules=_whole(match["modules"], part),
        module_gib=None if match["gib"] == "?" else _at_least_one(int(match["gib"]), part),
        type_name=type_name,
        mt_per_s=speed,
    )
    return item


def _check_memory(
    part: str, type_name: str | None, speed: int | None, library: PartsLibrary
) -> None:
    if type_name is None:
        return
    known = library.memory_types.get(type_name)
    if known is None:
        raise InputError(
            f"part {part!r}: no memory named {type_name}; known: {', '.join(library.memory_types)}",
        )
    if speed is not None and not known.slowest_mt_per_s <= speed <= known.fastest_mt_per_s:
        rates = f"{known.slowest_mt_per_s} to {known.fastest_mt_per_s} MT/s"
        raise InputError(f"part {part!r}: {type_name} runs at {rates}, got {speed}")


def _disk(part: str, library: PartsLibrary) -> DiskItem | None:
    if _is_disk_size(part):
        return DiskItem(text=part, bytes_per_s=None)
    match = _DISK.fullmatch(part)
    if match is None:
        return None
    try:
        rate = parse_number(match["rate"])
    except ValueError:
        raise InputError(
            f"part {part!r}: write the rate at which the disk is read, for example NVMe 7GB/s",
        ) from None
    if not SLOWEST_DISK_BYTES_PER_S <= rate <= FASTEST_DISK_BYTES_PER_S:
        raise InputError(
            f"part {part!r}: write the rate of reading, 1 MB/s to 100 GB/s, for example NVMe 7GB/s"
        )
    return DiskItem(text=part, bytes_per_s=rate)


def _is_disk_size(part: str) -> bool:
    has_word = re.search(r"nvme|m\.2|ssd|disk|hdd", part, re.IGNORECASE)
    has_size = re.search(r"\d\s*[tg]b(?!/s)", part, re.IGNORECASE)
    return bool(has_word and has_size and _DISK_SIZE.fullmatch(part))


def _device(part: str, library: PartsLibrary) -> GpuItem | CpuItem | None:
    """The GPU or CPU that a part names; None where it names none. Raises InputError where it may be
    more than one.
    """
    # The link and the size are taken out first: what is left must be a name with its count.
    rest, pcie = _taken(_PCIE, plain_device(part))
    counted = _COUNT.fullmatch(count_first(rest))
    if counted is None:
        return None
    count = _whole(counted["count"], part) or 1
    name_text, size = laptop_last(counted["rest"], library), None
    # The 435G of a Ryzen AI 5 435G is no size.
    if not library.named(name_text):
        name_text, size = _taken(_SIZE, name_text)
    names = library.named(name_text) or library.named(singular(name_text, count))
    if len(names) > 1:
        raise InputError(f"part {part!r} is short for {' or '.join(names)}: write one of them")
    if not names:
        return None
    name = names[0]
    if name in library.gpus:
        return _gpu(part, count, name, size, pcie, library)
    return _cpu(part, count, name, has_more=bool(size or pcie))


def _cpu(part: str, count: int, name: str, *, has_more: bool) -> CpuItem:
    if has_more:
        right = "which takes no size and no PCIe; write memory as a part of its own"
        raise InputError(f"part {part!r}: {name} is a CPU, {right}")
    return CpuItem(text=part, count=count, name=name)


def _gpu(
    part: str,
    count: int,
    name: str,
    size: re.Match[str] | None,
    pcie: re.Match[str] | None,
    library: PartsLibrary,
) -> GpuItem:
    item = GpuItem(text=part, count=count, name=name)
    if size is not None:
        item = replace(item, memory_gib=_memory_gib(part, int(size["gib"]), library.gpus[name]))
    if pcie is not None:
        generation = int(pcie["generation"])
        lanes = int(pcie["lanes"])
        if generation not in range(1, 7) or lanes not in (1, 2, 4, 8, 16):
            right = "PCIe has generations 1 to 6 and 1, 2, 4, 8 or 16 lanes"
            raise InputError(f"part {part!r}: {right}, got {pcie.group()}")
        item = replace(item, pcie_generation=generation, lanes=lanes)
    return item


def _memory_gib(part: str, gib: int, sizes: Sequence[GpuPart]) -> int:
    """Return the size, if the GPU is sold with it or with half of it, as cards are rebuilt with
    larger chips. Raises InputError for any other size.
    """
    if sizes[0].is_inside_cpu:
        right = "write that as a part of its own, such as 2x32GB DDR5-5600"
        raise InputError(f"part {part!r}: {sizes[0].name} has the memory of its CPU; {right}")
    listed = [round(each.memory_bytes / GIB) for each in sizes]
    if gib not in listed and (gib % 2 or gib // 2 not in listed or sizes[0].is_unified):
        twice = "" if sizes[0].is_unified else ", or twice that on a modified card"
        raise InputError(
            f"part {part!r}: {sizes[0].name} has {_either(listed)} GB{twice}, got {gib}"
        )
    return gib


def _taken(pattern: re.Pattern[str], text: str) -> tuple[str, re.Match[str] | None]:
    """Return the text without the first match of the pattern, and the match."""
    match = pattern.search(text)
    if match is None:
        return text, None
    return f"{text[: match.start()]} {text[match.end() :]}".strip(), match


def _whole(text: str | None, part: str) -> int | None:
    return None if text is None else _at_least_one(int(text), part)


def _at_least_one(count: int, part: str) -> int:
    # Said here rather than in the pattern, so that the message can name the number.
    if count < 1:
        raise InputError(f"part {part!r}: a count is at least 1, got {count}")
    return count


def _either(numbers: list[int]) -> str:
    *first, last = sorted(set(numbers))
    return f"{', '.join(map(str, first))} or {last}" if first else str(last)


def _not_understood(part: str, library: PartsLibrary) -> InputError:
    bare = _bare(part)
    names = nearest(bare, library.names_by_key)
    hint = f"nearest: {', '.join(names)}" if names else f"for example {EXAMPLE}"
    if re.search(r"ddr|\d\s*gb?\b.*\d{4}", part, re.IGNORECASE):
        hint = "memory is written as 2x32GB DDR5-4800"
    elif re.search(r"\b(?:nvme|ssd|disk|hdd)\b", part, re.IGNORECASE):
        hint = "a disk is written as NVMe 7GB/s"
    return InputError(f"part {part!r} is not understood; {hint}; a machine is {GRAMMAR}")


def _bare(part: str) -> str:
    strip: list[Callable[[str], str]] = [
        plain_device,
        lambda text: _taken(_PCIE, text)[0],
        lambda text: _taken(_SIZE, text)[0],
    ]
    for step in strip:
        part = step(part)
    counted = _COUNT.fullmatch(part)
    return counted["rest"] if counted else part
