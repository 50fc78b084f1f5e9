"""Laws of lines of parts: the order of parts and of words, how they are divided and how names are
spelt, whatever the parts of the library are.
"""

import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwprofiles import Machine, load_machine, machine_data
from hwprofiles.parts.library import parts_library
from hwprofiles.units import GIB

LIBRARY = parts_library()
CARDS = sorted(
    name
    for name, sizes in LIBRARY.gpus.items()
    if not sizes[0].is_unified and not sizes[0].is_inside_cpu and not sizes[0].host
)
CPUS = sorted(name for name, cpu in LIBRARY.cpus.items() if cpu.kind != "unified")
SEPARATORS = (" + ", "+", ", ", "; ", " | ", "\n", " & ", " / ")

cards = st.sampled_from(CARDS)
cpus = st.sampled_from(CPUS)


@st.composite
def lists(draw: st.DrawFn) -> list[str]:
    """One card with its link, a CPU, memory that it takes, and a disk; each but the CPU at times."""
    cpu = LIBRARY.cpus[draw(cpus)]
    parts = [cpu.name]
    if draw(st.booleans()):
        count = draw(st.sampled_from(("", "2x", "4x")))
        link = draw(st.sampled_from(("", " PCIe 3 x8", " PCIe 4 x16")))
        parts.append(f"{count}{draw(cards)}{link}")
    if draw(st.booleans()):
        modules = draw(st.integers(1, cpu.channels))
        size = draw(st.sampled_from((8, 16, 32, 64)))
        parts.append(f"{modules}x{size}GB {cpu.memory}-{cpu.mt_per_s}")
    if draw(st.booleans()):
        parts.append(f"NVMe {draw(st.sampled_from((1.5, 3.5, 7)))}GB/s")
    return parts


def _data(line: str) -> dict[str, Any]:
    """The machine of a line without what quotes the line: its name and sources."""
    return _without_quotes(machine_data(load_machine(line)))


def _without_quotes(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_quotes(each) for key, each in data.items() if key not in QUOTING}
    if isinstance(data, list):
        return [_without_quotes(each) for each in data]
    return data


QUOTING = ("name", "source", "description", "assumptions")


def _assumptions(line: str) -> list[str]:
    """What is assumed, the words of the line left out."""
    said = load_machine(line).assumptions
    return sorted(re.sub(r"'[^']*'", "", " ".join(each.split())) for each in said)


@given(lists(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_parts_stand_in_any_order(parts: list[str], random: Any) -> None:
    """GPU, CPU, memory and disk: the same machine, and as many assumptions."""
    other = list(parts)
    random.shuffle(other)
    one, two = " + ".join(parts), " + ".join(other)
    assert _data(one) == _data(two)
    assert len(_assumptions(one)) == len(_assumptions(two))


@given(lists(), st.sampled_from(SEPARATORS))
@settings(max_examples=60)
def test_parts_are_divided_by_any_sign(parts: list[str], separator: str) -> None:
    """A plus, comma, semicolon, bar, slash, ampersand or line's end."""
    assert _data(separator.join(parts)) == _data(" + ".join(parts))


@given(lists())
@settings(max_examples=40)
def test_the_name_of_a_machine_is_a_line_of_it(parts: list[str]) -> None:
    """A machine from parts is found again by its own name."""
    machine = load_machine("  +   ".join(parts))
    assert load_machine(machine.name) == machine


MAKERS = {"nvidia": "NVIDIA ", "amd": "AMD ", "intel": "Intel "}


@given(cards, st.integers(0, 6))
@settings(max_examples=80)
def test_a_card_is_found_as_people_write_it(name: str, way: int) -> None:
    """In small letters, without spaces, with dashes, its maker, its size or its words in front."""
    part = LIBRARY.gpus[name][0]
    spellings = (
        name.lower(),
        "".join(name.split()),
        name.replace(" ", "-"),
        f"{MAKERS[part.maker]}{name}",
        f"{name} {round(part.memory_bytes / GIB)}GB",
        f"{MAKERS[part.maker]}{name} GPU",
        name.upper(),
    )
    assert load_machine(f"{spellings[way]} + Ryzen 9 5950X").gpu.name == name


@given(cpus, st.integers(0, 4))
@settings(max_examples=80)
def test_a_processor_is_found_as_systems_write_it(name: str, way: int) -> None:
    """With trade marks, number of cores and clock, in small letters or without spaces."""
    cpu = LIBRARY.cpus[name]
    spellings = (
        name.lower(),
        "".join(name.split()),
        f"{name} {cpu.cores}-Core Processor",
        f"{name} CPU @ 2.60GHz",
        f"{name}(R) Processor",
    )
    assert load_machine(f"RTX 3090 + {spellings[way]}").cpu.name == name


@given(cards, st.integers(2, 8), st.integers(0, 3))
@settings(max_examples=60)
def test_a_count_stands_anywhere(name: str, count: int, way: int) -> None:
    """In front with or without spaces, or behind the name."""
    ways = (f"{count}x{name}", f"{count} x {name}", f"{count}X {name}", f"{name} x{count}")
    machine = load_machine(f"{ways[way]} + EPYC 7302")
    assert (machine.gpu.name, machine.gpu.count) == (name, count)


@given(cards, st.sampled_from((3, 4, 5)), st.sampled_from((4, 8, 16)), st.randoms())
@settings(max_examples=60)
def test_words_of_a_card_stand_in_any_order(
    name: str, generation: int, lanes: int, random: Any
) -> None:
    """Its size and its link, behind the name."""
    size = f"{round(LIBRARY.gpus[name][0].memory_bytes / GIB)}GB"
    words = [size, f"PCIe {generation} x{lanes}"]
    one = f"{name} {' '.join(words)} + EPYC 9654"
    two = f"{name} {' '.join(reversed(words))} + EPYC 9654"
    assert _data(one) == _data(two)
    assert load_machine(one).link.name.endswith(f"x{lanes}")


@given(cards, cards, st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=60)
def test_unlike_cards_are_carried_in_order(first: str, second: str, count: int, other: int) -> None:
    """The first are the machine's own, the second stand beside, each as if it were alone."""
    assume(first != second)
    machine = load_machine(f"{count}x{first} PCIe 3 x4 + {other}x{second} PCIe 3 x8 + EPYC 9654")
    alone = load_machine(f"{other}x{second} PCIe 3 x8 + EPYC 9654")
    assert (machine.gpu.name, machine.gpu.count) == (first, count)
    (beside,) = machine.other_gpus
    assert (beside.gpu.name, beside.gpu.count) == (second, other)
    assert beside.gpu.memory_bytes.effective == alone.gpu.memory_bytes.effective
    assert beside.link.h2d.bytes_per_s.effective == alone.link.h2d.bytes_per_s.effective


def _sockets(name: str, sockets: int, modules: str) -> Machine:
    count = f"{sockets}x" if sockets > 1 else ""
    return load_machine(f"RTX 3090 + {count}{name} + {count}({modules})")


@given(
    st.sampled_from([name for name in CPUS if LIBRARY.cpus[name].sockets > 1]),
    st.integers(2, 8),
    st.sampled_from((16, 32, 64)),
)
@settings(max_examples=60)
def test_sockets_have_memory_each(name: str, sockets: int, size: int) -> None:
    """Bytes, bandwidth and cores are those of all sockets; what is reached of the bandwidth is one
    socket's.
    """
    part = LIBRARY.cpus[name]
    sockets = min(sockets, part.sockets)
    modules = f"{part.channels}x{size}GB {part.memory}-{part.mt_per_s}"
    one = load_machine(f"RTX 3090 + {name} + {modules}").cpu
    many = _sockets(name, sockets, modules).cpu
    assert one.memory_bytes is not None
    assert many.memory_bytes is not None
    assert (many.sockets, many.cores) == (sockets, sockets * one.cores)
    assert many.memory_bytes.value == sockets * one.memory_bytes.value
    assert many.memory_bytes_per_s.value == sockets * one.memory_bytes_per_s.value
    assert many.memory_bytes_per_s.effective == pytest.approx(one.memory_bytes_per_s.effective)


@given(cpus, st.data())
@settings(max_examples=60)
def test_faster_memory_is_faster_in_proportion(name: str, data: st.DataObject) -> None:
    """Channels that hold a module each give their rate; more modules of a channel give no more, and
    no processor moves more than its maker says.
    """
    part = LIBRARY.cpus[name]
    kind = LIBRARY.memory_types[part.memory]
    speed = data.draw(st.integers(kind.slowest_mt_per_s, kind.fastest_mt_per_s))
    most = part.most_memory_bytes_per_s or float("inf")
    for modules in (data.draw(st.integers(1, part.channels)), 2 * part.channels):
        cpu = load_machine(f"{name} + {modules}x16GB {part.memory}-{speed}").cpu
        channels = min(modules, part.channels)
        assert cpu.memory_bytes_per_s.value == pytest.approx(min(channels * speed * 8e6, most))


@given(cards, st.data())
@settings(max_examples=60)
def test_a_modified_card_has_twice_its_memory_and_no_more_speed(
    name: str, data: st.DataObject
) -> None:
    """And the machine says so, where no card of that size is sold."""
    sizes = [round(each.memory_bytes / GIB) for each in LIBRARY.gpus[name]]
    size = data.draw(st.sampled_from(sizes))
    assume(2 * size not in sizes and 2 * size < 1000)
    machine = load_machine(f"{name} {2 * size}GB + Ryzen 9 7950X")
    sold = load_machine(f"{name} {size}GB + Ryzen 9 7950X").gpu
    # What a card reports is measured for those that are sold, and estimated for others.
    assert machine.gpu.memory_bytes.effective == pytest.approx(
        2 * sold.memory_bytes.effective, rel=0.02
    )
    assert machine.gpu.memory_bytes_per_s == sold.memory_bytes_per_s
    assert any(f"one of {2 * size} GB is taken to be" in each for each in machine.assumptions)


WORDS = ("ECC", "RDIMM", "UDIMM", "LRDIMM", "SO-DIMM", "registered", "CL30", "RAM")


@given(st.lists(st.sampled_from(WORDS), max_size=3, unique=True), st.booleans())
@settings(max_examples=40)
def test_words_of_modules_change_no_rate(words: list[str], is_behind: bool) -> None:
    """What a shop writes beside kind and speed."""
    memory = ["8x64GB", "DDR5-4800"]
    written = [*memory, *words] if is_behind else [memory[0], *words, memory[1]]
    found, same = (
        load_machine(f"Xeon w9-3495X + {' '.join(each)}").cpu for each in (written, memory)
    )
    assert found.memory_bytes_per_s.value == same.memory_bytes_per_s.value
    assert found.memory_bytes.value == same.memory_bytes.value
