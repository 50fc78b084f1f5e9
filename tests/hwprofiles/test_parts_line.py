"""A line of parts is understood as people write it, completed by stated rules, or refused with what
would be right.
"""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, Kind, Machine, load_machine
from hwprofiles.parts.library import parts_library
from hwprofiles.units import GB, GIB
from tests.shared_data import shared_data

WHOLE = "RTX 4080 PCIe 4 x16 + Ryzen 9 7950X + 2x32GB DDR5-4800"


def _machines_of(table: str) -> set[str]:
    """The machines that one of the published tables names."""
    with shared_data(f"runtimes/{table}.csv").open(encoding="utf-8") as file:
        return {row["machine"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("table", ["rows", "memory", "chooser"])
def test_every_machine_of_the_published_tables_is_understood(table: str) -> None:
    """As written there."""
    lines = sorted(_machines_of(table))
    assert lines
    assert [load_machine(line).name for line in lines] == lines


@pytest.mark.parametrize(
    ("line", "gpu", "cpu"),
    [
        ("RTX 4090 Laptop GPU + 7950X", "GeForce RTX 4090 Laptop", "Ryzen 9 7950X"),
        ("4090 + AMD Ryzen 9 7950X 16-Core Processor", "GeForce RTX 4090", "Ryzen 9 7950X"),
        ("rtx4090d+i9-13900kf", "GeForce RTX 4090 D", "Core i9-13900KF"),
        (
            "4080 super + 11th Gen Intel(R) Core(TM) i9-11900KF @ 3.50GHz",
            "GeForce RTX 4080 SUPER",
            "Core i9-11900KF",
        ),
        ("4070 TiS + Ryzen 7 8700G", "GeForce RTX 4070 Ti SUPER", "Ryzen 7 8700G"),
        ("L40S + Xeon Gold 6454S", "L40S", "Xeon Gold 6454S"),
        ("RTX 4090 + Xeon 8136", "GeForce RTX 4090", "Xeon Platinum P-8136"),
        ("7900 XTX + R9 7900X", "Radeon RX 7900 XTX", "Ryzen 9 7900X"),
        ("RTX 6000 Ada + Xeon 6252", "RTX 6000 Ada Generation", "Xeon Gold 6252"),
        (
            "RTX 6000 + Intel(R) Xeon(R) CPU E5-2697A v4 @ 2.60GHz",
            "Quadro RTX 6000",
            "Xeon E5-2697A v4",
        ),
        ("NVIDIA A100-SXM4-80GB + AMD EPYC 7742 64-Core Processor", "A100 SXM", "EPYC 7742"),
        ("NVIDIA H100 80GB HBM3 + Xeon Platinum 8480+", "H100 SXM", "Xeon Platinum 8480+"),
        (
            "RTX PRO 6000 Blackwell Workstation Edition + TR 7970X",
            "RTX PRO 6000 Blackwell",
            "Ryzen Threadripper 7970X",
        ),
        ("B580 + Ultra 9 285K", "Arc B580", "Core Ultra 9 285K"),
        ("M4 Max 128GB", "Apple M4 Max", "Apple M4 Max"),
        ("Ryzen AI Max+ 395 128GB", "Radeon 8060S", "Ryzen AI Max+ 395"),
        ("DGX Spark", "GB10", "NVIDIA GB10"),
    ],
)
def test_names_of_people_and_of_systems_are_one(line: str, gpu: str, cpu: str) -> None:
    """Variants stay apart: laptop, Ti, Super, D, and cards of one number by different makers."""
    machine = load_machine(line)
    assert (machine.gpu.name, machine.cpu.name) == (gpu, cpu)


def test_a_whole_line_assumes_nothing() -> None:
    """Nothing is left out, so nothing is to be said; numbers are those that the line and the lists
    state.
    """
    machine = load_machine(WHOLE)
    assert machine.assumptions == ()
    assert machine.gpu.count == 1
    assert machine.gpu.memory_bytes_per_s.value == 716.8 * GB
    assert machine.cpu.memory_bytes_per_s.value == 2 * 4800e6 * 8
    assert machine.cpu.memory_bytes is not None
    assert machine.cpu.memory_bytes.value == 64 * GIB
    assert machine.link.name == "PCIe 4.0 x16"
    assert machine.link.h2d.bytes_per_s.kind is Kind.DATASHEET


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800",
            "names no PCIe of GeForce RTX 4080: 4.0 x16 assumed",
        ),
        ("RTX 4080 PCIe 4 x16 + Ryzen 9 7950X", "names no memory: all 2 channels of Ryzen 9 7950X"),
        ("RTX 4080 PCIe 4 x16 + 2x32GB DDR5-4800", "names no CPU: Ryzen 9 7950X assumed"),
        (
            "RTX 3060 PCIe 4 x16 + Ryzen 9 7950X + 2x32GB DDR5-4800",
            "comes with 12 or 8 GB of memory: 12 GB assumed",
        ),
        ("Ryzen 9 7950X + 64GB DDR5-4800", "names no number of modules"),
        ("Ryzen 9 7950X + 2x32GB DDR5", "names no speed of memory: DDR5-5200 assumed"),
        ("Ryzen 9 7950X + 2x32GB DDR5-5200 + NVMe 2TB", "'NVMe 2TB' names no rate"),
        ("Ryzen 9 7950X + 2x32GB 5200MHz RAM", "names no kind of memory: DDR5 assumed"),
        ("Ryzen 9 7950X + 4x32GB DDR5-3600", "4 modules of memory share the 2 channels"),
        ("2xEPYC 9115 + 24x32GB DDR5-4800", "taken as the modules of all 2 sockets together"),
    ],
)
def test_what_is_left_out_is_assumed_and_said(line: str, said: str) -> None:
    """One sentence for each, and no other."""
    assumptions = load_machine(line).assumptions
    assert len(assumptions) == 1
    assert said in assumptions[0]


def test_an_assumed_number_says_so_itself() -> None:
    """Its kind is assumed and its source says why, so that a file written from it still tells."""
    machine = load_machine("RTX 4080 + Ryzen 9 7950X")
    link = machine.link.h2d.bytes_per_s
    memory = machine.cpu.memory_bytes_per_s
    assert (link.kind, memory.kind) == (Kind.ASSUMED, Kind.ASSUMED)
    assert "names no PCIe" in link.source
    assert "names no memory" in memory.source
    assert machine.cpu.memory_bytes is None


def test_the_older_generation_and_the_lanes_that_are_left_make_the_link() -> None:
    """A new card in an old board runs at the board's rate, and many cards share the lanes of a
    desktop CPU.
    """
    assert load_machine("RTX 5090 + Ryzen 9 5950X").link.name == "PCIe 4.0 x16"
    assert load_machine("RTX 3090 + Ryzen 9 9950X").link.name == "PCIe 4.0 x16"
    assert load_machine("2xRTX 3090 + Ryzen 9 9950X").link.name == "PCIe 4.0 x8"
    assert load_machine("4xRTX 3090 + EPYC 7302").link.name == "PCIe 4.0 x16"


def test_a_disk_on_the_chipset_takes_no_lanes_of_a_gpu() -> None:
    """Intel's client CPUs of sixteen lanes give all of them to slots."""
    assert load_machine("RTX 2060 + Core i5-9400F").link.name == "PCIe 3.0 x16"
    assert load_machine("2xRTX 3090 + Core i9-9900K").link.name == "PCIe 3.0 x8"
    assert load_machine("RTX 4060 + Ryzen 7 8700G").link.name == "PCIe 4.0 x8"


def test_a_machine_without_a_gpu_has_none() -> None:
    """It counts none and holds no bytes."""
    machine = load_machine("Ryzen 9 7950X + 2x32GB DDR5-4000")
    assert not machine.has_gpu
    assert machine.gpu.memory_bytes.effective == 0


def test_a_processor_with_e_cores_computes_on_its_p_cores() -> None:
    """As many threads as P cores; all cores are counted."""
    cpu = load_machine("RTX 5090 + Core i9-13900KF").cpu
    assert (cpu.threads, cpu.cores, cpu.efficiency_cores) == (8, 24, 16)


@pytest.mark.parametrize(
    ("memory", "plain"),
    [
        ("8x64GB DDR5-4800 ECC RDIMM", "8x64GB DDR5-4800"),
        ("8x64GB RDIMM DDR5-4800", "8x64GB DDR5-4800"),
        ("8x64GB MRDIMM-8800", "8x64GB DDR5-8800"),
        ("8x64GB DDR5-8800 MRDIMM", "8x64GB DDR5-8800"),
        ("8x64GB LPDDR5X-8533", "8x64GB DDR5-8533"),
        ("8x64GB SO-DIMM DDR5-5600", "8x64GB DDR5-5600"),
    ],
)
def test_words_of_modules_change_no_rate(memory: str, plain: str) -> None:
    """What a shop writes beside kind and speed, and soldered memory by 64 bits."""
    found, same = (load_machine(f"Xeon w9-3495X + {each}").cpu for each in (memory, plain))
    assert found.memory_bytes_per_s.value == same.memory_bytes_per_s.value
    assert found.memory_bytes.value == same.memory_bytes.value == 512 * GIB


def test_low_power_memory_without_a_processor_assumes_one() -> None:
    """By what it is taken as."""
    assert load_machine("32GB LPDDR5X-7500").cpu.name == load_machine("32GB DDR5-7500").cpu.name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "RTX 4009 + Ryzen 9 7950X",
            "part 'RTX 4009' is not understood; nearest: GeForce RTX 4090",
        ),
        (
            "RTX 4080 + Ryzen 9 7950Y",
            "part 'Ryzen 9 7950Y' is not understood; nearest: Ryzen 9 7950X",
        ),
        (
            "RTX 4080 + 2x32GB DR5-4800",
            "part '2x32GB DR5-4800' is not understood; memory is written as 2x32GB DDR5-4800",
        ),
        ("RTX 4080 + NVMe", "part 'NVMe' is not understood; a disk is written as NVMe 7GB/s"),
        ("RTX 4080 + NVMe 4.0", "part 'NVMe 4.0': write the rate of reading, 1 MB/s to 100 GB/s"),
        ("RTX 4080 + NVMe 1e-300", "write the rate of reading"),
        (
            "RTX 4080 + NVMe fast",
            "write the rate at which the disk is read, for example NVMe 7GB/s",
        ),
        ("RTX 4080 + 2x32GB DDR5-480000", "DDR5 runs at 3200 to 9600 MT/s, got 480000"),
        ("RTX 4080 + Ryzen 9 7950X + 2x32GB DDR4-3200", "Ryzen 9 7950X takes DDR5, got DDR4"),
        ("RTX 4090 40GB + 7950X", "RTX 4090 has 24 GB, or twice that on a modified card, got 40"),
        ("Ryzen AI Max+ 395 999GB", "GB, got 999"),
        ("7950X + 2x16GB LPDDR5X-480000", "LPDDR5X runs at 3200 to 10700 MT/s, got 480000"),
        ("5950X + 2x16GB LPDDR5-6400", "Ryzen 9 5950X takes DDR4, got LPDDR5"),
        ("7950X + 2x16GB DIMM-4800", "memory is written as 2x32GB DDR5-4800"),
        ("RTX 3060 10GB", "GeForce RTX 3060 has 8 or 12 GB, or twice that"),
        ("2xRyzen 9 7950X", "Ryzen 9 7950X works in at most 1 sockets, got 2"),
        (
            "2xXeon Gold 6252 + 4x(6x32GB DDR4-2933)",
            "memory of 4 sockets, CPUs of 2: write as many",
        ),
        ("Ryzen 9 7950X + Ryzen 9 7900X", "write 2xNAME for two sockets of one CPU"),
        ("RTX 4090 + 7600", "'7600' is short for Radeon RX 7600 or Ryzen 5 7600"),
        (
            "RTX 4090 PCIe 4 x3",
            "PCIe has generations 1 to 6 and 1, 2, 4, 8 or 16 lanes, got PCIe 4 x3",
        ),
        (
            "M4 Max 128GB + Ryzen 9 7950X",
            "Apple M4 Max comes with CPU and memory; leave out 'Ryzen 9 7950X'",
        ),
        ("0xRTX 4090 + 7950X", "a count is at least 1, got 0"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(line: str, message: str) -> None:
    """In one line."""
    with pytest.raises(InputError) as caught:
        load_machine(line)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_understood_comes_with_the_grammar() -> None:
    """So that a reader sees how a line is written."""
    with pytest.raises(
        InputError,
        match=r"a machine is \[Nx\]GPU \[SIZE\] \[PCIe G xL\] \+ \[Nx\]CPU \+ CHANNELSxSIZE",
    ):
        load_machine("RTX 4080 + banana")


def test_one_word_is_a_part_or_the_misspelt_name_of_a_machine() -> None:
    """A machine that ships goes first."""
    assert load_machine("rtx3090").gpu.name == "GeForce RTX 3090"
    assert load_machine("h100").name == "h100"
    with pytest.raises(InputError, match=r"^no machine named 'h10'; did you mean 'h100'\?$"):
        load_machine("h10")
    with pytest.raises(
        InputError,
        match=r"^no machine or part named 'rtx4009'; did you mean the part 'GeForce RTX 4090'\?$",
    ):
        load_machine("rtx4009")


def test_overrides_change_a_machine_from_parts() -> None:
    """As any other machine."""
    machine: Machine = load_machine(WHOLE, ["link.h2d.bytes_per_s=50e9", "gpu.memory_bytes=8GB"])
    assert machine.link.h2d.bytes_per_s.effective == 50e9
    assert machine.gpu.memory_bytes.effective == 8e9


@given(st.text("gb x+-.", min_size=201, max_size=2000), st.text("abc ", max_size=20))
@settings(max_examples=30)
def test_a_long_part_is_refused_at_once(part: str, other: str) -> None:
    """Before any of its words is looked at."""
    if max(map(len, map(str.strip, f"{other}+{part}".split("+")))) <= 200:
        return
    with pytest.raises(InputError) as caught:
        load_machine(f"{other} + {part}")
    assert "a part has at most 200 characters" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(7, 6000))
@settings(max_examples=30)
def test_numbers_of_many_digits_are_refused(digits: int) -> None:
    """No part has so many; Python itself reads none of more than 4,300."""
    line = f"RTX 4080 + 2x{'9' * digits}GB DDR5-4800"
    message = "a number in a part has at most 6 digits" if digits < 180 else "a part has at most"
    with pytest.raises(InputError, match=message):
        load_machine(line)


@given(st.sampled_from(sorted(parts_library().cpus)), st.integers(0, 9))
@settings(max_examples=60)
def test_as_many_sockets_as_the_processor_is_made_for(name: str, sockets: int) -> None:
    """The maker lists it for each processor, not for its generation."""
    part = parts_library().cpus[name]
    if part.kind == "unified" or sockets < 2:
        return
    line = f"{sockets}x{part.name}"
    if sockets <= part.sockets:
        assert load_machine(line).cpu.sockets == sockets
        return
    with pytest.raises(InputError, match=f"works in at most {part.sockets} sockets?, got"):
        load_machine(line)
