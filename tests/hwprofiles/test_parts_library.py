"""The library of parts: its size, its sources, its agreement with datasheets, and lines made at
random from it.
"""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, Kind, load_machine, machine_data, parse_machine
from hwprofiles.parts import CpuPart, GpuPart, parts_library
from hwprofiles.parts.names import key_of
from hwprofiles.units import GB, GIB, TERA

NUM_LINES = 300

DATASHEETS = [
    ("GeForce RTX 2080 Ti", 11, 616, 53.8),
    ("GeForce RTX 3060", 12, 360, 25.5),
    ("GeForce RTX 3090", 24, 936, 71),
    ("GeForce RTX 4080", 16, 717, 97.5),
    ("GeForce RTX 4090", 24, 1008, 165.2),
    ("GeForce RTX 5080", 16, 960, 112.6),
    ("GeForce RTX 5090", 32, 1792, 209.5),
    ("Quadro RTX 6000", 24, 672, 130.5),
    ("Tesla T4", 16, 320, 65),
    ("Tesla V100 SXM2", 16, 900, 125),
    ("A10", 24, 600, 125),
    ("A40", 48, 696, 149.7),
    ("RTX A6000", 48, 768, 154.8),
    ("A100 SXM", 80, 2039, 312),
    ("H100 SXM", 80, 3350, 989.4),
    ("H200 SXM", 141, 4800, 989.4),
    ("B200", 180, 8000, 2250),
    ("L4", 24, 300, 121),
    ("L40", 48, 864, 181),
    ("L40S", 48, 864, 362),
    ("RTX 6000 Ada Generation", 48, 960, 364.2),
    ("RTX PRO 6000 Blackwell", 96, 1792, 503.8),
    ("Radeon RX 7900 XTX", 24, 960, 122.8),
    ("Radeon RX 9070 XT", 16, 645, 195),
    ("Instinct MI300X", 192, 5300, 1307.4),
    ("Apple M2 Ultra", 192, 800, 27.2),
]
"""Memory in GB, bandwidth in GB/s and dense 16-bit TFLOP/s with products accumulated in 32 bits, as
their makers print them.
"""

CPUS = [
    ("Ryzen 9 7950X", 16, 0, 4.5, 5.7, 2, 5200),
    ("Ryzen Threadripper PRO 7965WX", 24, 0, 4.2, 5.3, 8, 5200),
    ("EPYC 9654", 96, 0, 2.4, 3.7, 12, 4800),
    ("EPYC 7302", 16, 0, 3.0, 3.3, 8, 3200),
    ("Core i9-13900KF", 8, 16, 3.0, 5.4, 2, 5600),
    ("Core Ultra 9 285K", 8, 16, 3.7, 5.5, 2, 6400),
    ("Xeon Gold 6454S", 32, 0, 2.2, 3.4, 8, 4800),
    ("Xeon E5-2697A v4", 16, 0, 2.6, 3.6, 4, 2400),
]
"""P cores, E cores, base and boost in GHz, channels and their rate, as their makers list them."""

MISSPELT = [
    ("RTX 4009", "GeForce RTX 4090"),
    ("RTX 3900", "GeForce RTX 3090"),
    ("GTX 3090", "GeForce RTX 3090"),
    ("RXT 4090", "GeForce RTX 4090"),
    ("RTX 4080 Suepr", "GeForce RTX 4080 SUPER"),
    ("RTX 4070 Ti Supr", "GeForce RTX 4070 Ti SUPER"),
    ("Geforce RTX 5909", "GeForce RTX 5090"),
    ("RTX A600", "RTX A6000"),
    ("RTX 6000 Adda", "RTX 6000 Ada Generation"),
    ("RTX PRO 600", "RTX PRO 6000 Blackwell"),
    ("Tesla P400", "Tesla P40"),
    ("Telsa T4", "Tesla T4"),
    ("Radeon 7900 XXT", "Radeon RX 7900 XT"),
    ("RX 7900XTXX", "Radeon RX 7900 XTX"),
    ("MI300Y", "Instinct MI300X"),
    ("Arc B508", "Arc B580"),
    ("M4 Maxx 128GB", "Apple M4 Max"),
    ("DGX Sparkk", "GB10"),
    ("Rizen 9 7950X", "Ryzen 9 7950X"),
    ("Ryzen 7 7950X", "Ryzen 9 7950X"),
    ("Ryzen 9 7950XD3", "Ryzen 9 7950X3D"),
    ("Ryzen 9950", "Ryzen 9 9950X"),
    ("Thredripper 7970X", "Ryzen Threadripper 7970X"),
    ("Threadripper PRO 7965W", "Ryzen Threadripper PRO 7965WX"),
    ("EPIC 9654", "EPYC 9654"),
    ("EPYC 93554", "EPYC 9354"),
    ("i9-13900KFF", "Core i9-13900KF"),
    ("Core i7 14700KK", "Core i7-14700K"),
    ("Xeon Gould 6430", "Xeon Gold 6430"),
    ("Xeon E5-2697B v4", "Xeon E5-2697 v4"),
]


def test_the_library_is_as_large_as_it_is_said_to_be() -> None:
    """Cards by name, whatever their sizes; CPUs of desktops and servers."""
    library = parts_library()
    assert len(library.gpus) >= 120
    assert len(library.cpus) >= 150


def test_every_part_has_a_dated_source() -> None:
    """Sources are words, dates begin with a year."""
    library = parts_library()
    cited = [part.listed for part in library.cpus.values()]
    cited += [part.design.listed for part in library.cpus.values()]
    for sizes in library.gpus.values():
        cited += [citation for part in sizes for citation in (part.listed, part.rates)]
    assert all(len(citation.source) > 7 for citation in cited)
    assert all(re.match(r"20\d\d", citation.date) for citation in cited)


@pytest.mark.parametrize(
    ("name", "gib", "gb_per_s", "teraflops"),
    DATASHEETS,
    ids=lambda value: str(value),
)
def test_gpus_agree_with_datasheets(name: str, gib: int, gb_per_s: float, teraflops: float) -> None:
    """Memory exactly, its rate and the rate of products within 1.5 %: datasheets round."""
    part = next(size for size in parts_library().gpus[name] if size.memory_bytes == gib * GIB)
    rates = part.operations_per_s
    wide = next(rates[kind] for kind in ("bf16", "fp16", "f32") if kind in rates)
    assert part.memory_bytes_per_s == pytest.approx(gb_per_s * GB, rel=0.005)
    assert wide == pytest.approx(teraflops * TERA, rel=0.015)


@pytest.mark.parametrize(("name", "cores", "e_cores", "base", "boost", "channels", "rate"), CPUS)
def test_cpus_agree_with_their_makers(
    name: str,
    cores: int,
    e_cores: int,
    base: float,
    boost: float,
    channels: int,
    rate: int,
) -> None:
    """Cores, clocks and memory."""
    part = parts_library().cpus[name]
    assert (part.cores, part.e_cores, part.channels, part.mt_per_s) == (
        cores,
        e_cores,
        channels,
        rate,
    )
    assert (part.base_hz, part.boost_hz) == (base * 1e9, boost * 1e9)


def test_numbers_are_plausible() -> None:
    """A slip of a digit shows: clocks, rates by bandwidth, cores, channels."""
    library = parts_library()
    for cpu in library.cpus.values():
        listed = (cpu.base_hz, cpu.all_core_hz, cpu.boost_hz)
        clocks = [hertz for hertz in listed if hertz is not None]
        assert clocks == sorted(clocks)
        # Base clocks of thin laptops are the lowest.
        assert all(0.7e9 <= hertz <= 6.3e9 for hertz in clocks)
        assert 1 <= cpu.cores <= 192
    for gpu in (size for sizes in library.gpus.values() for size in sizes):
        if gpu.is_inside_cpu:
            assert (gpu.memory_bytes, gpu.memory_bytes_per_s) == (0, 0)
            continue
        per_byte = max(gpu.operations_per_s.values()) / gpu.memory_bytes_per_s
        # Chips with slow memory in common and much fp4 arithmetic have most.
        assert 10 <= per_byte <= 4000, gpu.name
        assert 2 * GIB <= gpu.memory_bytes <= 512 * GIB


def test_a_whole_name_stands_for_one_part() -> None:
    """No two parts share a spelling of their whole names, and each is found by it."""
    library = parts_library()
    for name in [
        *library.gpus,
        *(name for name, cpu in library.cpus.items() if cpu.kind != "unified"),
    ]:
        assert library.named(name) == (name,), key_of(name)


def test_what_a_cpu_can_compute_goes_with_its_instructions() -> None:
    """bf16 and 8-bit rates are there for those that have the instructions, and for no other."""
    for cpu in parts_library().cpus.values():
        rates = cpu.design.operations_per_cycle
        assert ("amx_bf16" in rates) == ("amx" in cpu.design.instructions)
        if "neon" not in cpu.design.instructions:
            assert ("bf16" in rates) == ("bf16" in cpu.design.instructions)
            assert ("int8" in rates) == ("vnni" in cpu.design.instructions)


@given(seed=st.integers(0, 10**9))
@settings(max_examples=NUM_LINES)
def test_lines_made_from_the_library_are_machines(seed: int) -> None:
    """Any GPUs that are cards, any CPU that has a socket, memory that it takes: written, read, and
    the same.
    """
    line, gpu, cpu = _line(random.Random(seed))
    machine = load_machine(line)
    assert machine.cpu.name.endswith(cpu.name)
    assert machine.gpu.name == (gpu.name if gpu else "no GPU")
    assert parse_machine(machine_data(machine), "file") == machine
    for rate in (
        machine.cpu.memory_bytes_per_s,
        machine.gpu.memory_bytes_per_s,
        machine.link.h2d.bytes_per_s,
    ):
        low, high = rate.effective_range
        assert 0 < low <= rate.effective <= high
        assert rate.efficiency is not None


def _line(rng: random.Random) -> tuple[str, GpuPart | None, CpuPart]:
    """A line with its first GPU and its CPU; parts that may be left out are at times."""
    library = parts_library()
    cpus = [part for part in library.cpus.values() if part.kind != "unified"]
    cards = [
        sizes for sizes in library.gpus.values() if not sizes[0].is_unified and not sizes[0].host
    ]
    cpu = rng.choice(cpus)
    sockets = rng.randint(1, cpu.sockets)
    parts = []
    gpu = None
    if rng.random() < 0.9:
        gpu = rng.choice(rng.choice(cards))
        count = rng.choice((1, 1, 2, 4))
        size = f" {gpu.memory_bytes // GIB}GB" if rng.random() < 0.7 else ""
        named = f" PCIe {rng.choice((3, 4, 5))} x{rng.choice((4, 8, 16))}"
        link = named if rng.random() < 0.5 else ""
        parts.append(f"{count}x{gpu.name}{size}{link}" if count > 1 else f"{gpu.name}{size}{link}")
    parts.append(f"{sockets}x{cpu.name}" if sockets > 1 else cpu.name)
    if rng.random() < 0.8:
        size = f"{rng.randint(1, cpu.channels)}x{rng.choice((16, 32, 48, 64))}GB"
        modules = f"{size} {cpu.memory}-{cpu.mt_per_s}"
        parts.append(f"{sockets}x({modules})" if sockets > 1 else modules)
    if rng.random() < 0.3:
        parts.append(f"NVMe {rng.choice((3.5, 7, 14))}GB/s")
    return rng.choice((" + ", "+", " +  ")).join(parts), gpu, cpu


@pytest.mark.parametrize(("written", "meant"), MISSPELT)
def test_a_misspelt_part_is_suggested(written: str, meant: str) -> None:
    """Among the three nearest."""
    with pytest.raises(InputError) as caught:
        load_machine(f"{written} + NVMe 7GB/s")
    assert meant in str(caught.value)


def test_shares_have_a_spread_and_a_source() -> None:
    """Each share that a machine from parts rests on is stated with how far it may be off."""
    machine = load_machine("RTX 4090 + EPYC 9654 + 12x64GB DDR5-4800")
    for rate in (
        machine.cpu.memory_bytes_per_s,
        machine.gpu.memory_bytes_per_s,
        machine.link.h2d.bytes_per_s,
    ):
        share = rate.efficiency
        assert share is not None
        assert share.low is not None
        assert share.high is not None
        assert share.low < share.value < share.high
        assert share.kind in (Kind.FITTED, Kind.ASSUMED)
