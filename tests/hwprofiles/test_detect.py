"""The computer at hand, from what its commands and files say; the answers here are made up in their
formats.
"""

import pytest

from hwprofiles import InputError, machine_data, parse_machine
from hwprofiles.parts import detected_machine
from hwprofiles.parts.system import FoundSystem, found_system
from hwprofiles.units import KIB

CPU = """processor\t: {number}
model name\t: {name}
physical id\t: {socket}
cpu cores\t: {cores}
flags\t\t: fpu sse avx2 {flags}
"""
MODULE = """Memory Device
\tSize: {size}
\tLocator: DIMM
\tType: DDR5
\tSpeed: 5600 MT/s
\tConfigured Memory Speed: 4800 MT/s
"""
NO_MODULE = "Memory Device\n\tSize: No Module Installed\n\tType: Unknown\n"


def _system(
    *,
    name: str = "AMD Ryzen 9 7950X 16-Core Processor",
    sockets: int = 1,
    cores: int = 16,
    gpus: str = "",
    modules: str = "",
    flags: str = "",
) -> FoundSystem:
    numbers = range(2 * cores * sockets)
    own = {"name": name, "cores": cores, "flags": flags}
    threads = [CPU.format(number=number, socket=number % sockets, **own) for number in numbers]
    files = {"/proc/cpuinfo": "\n".join(threads), "/proc/meminfo": "MemTotal:       65536000 kB\n"}
    printed = {"nvidia-smi": gpus, "dmidecode": modules}
    return found_system(lambda command: printed[command[0]], lambda path: files[path])


def test_gpus_cpu_and_modules_become_the_machine() -> None:
    """Two equal cards are two of one kind; bytes of memory are those that the system counts."""
    card = "NVIDIA GeForce RTX 4090, 24564, 4, 16\n"
    modules = "\n".join([MODULE.format(size="32 GB"), NO_MODULE, MODULE.format(size="32 GB")])
    machine = detected_machine(_system(gpus=card * 2, modules=modules))
    assert machine.name == "2xGeForce RTX 4090 24GB PCIe 4 x16 + Ryzen 9 7950X + 2x32GB DDR5-4800"
    assert (machine.gpu.count, machine.link.name) == (2, "PCIe 4.0 x16")
    assert machine.cpu.memory_bytes is not None
    assert machine.cpu.memory_bytes.value == 65536000 * KIB
    assert machine.assumptions == ()


def test_sockets_have_their_modules_each() -> None:
    """As physical ids and modules tell."""
    modules = "\n".join([MODULE.format(size="64 GB")] * 16)
    name = "Intel(R) Xeon(R) Gold 6430"
    machine = detected_machine(_system(name=name, sockets=2, cores=32, modules=modules))
    assert machine.name == "2xXeon Gold 6430 + 2x(8x64GB DDR5-4800)"
    assert machine.cpu.threads == 64


@pytest.mark.parametrize(
    ("printed", "name", "size"),
    [
        ("NVIDIA A100-SXM4-80GB, 81920, 4, 16", "A100 SXM", 80),
        ("NVIDIA A100 80GB PCIe, 81920, 4, 16", "A100 PCIe", 80),
        ("NVIDIA H100 80GB HBM3, 81559, 5, 16", "H100 SXM", 80),
        ("Tesla V100-SXM2-16GB, 16384, 3, 16", "Tesla V100 SXM2", 16),
        ("NVIDIA GeForce RTX 3060, 12288, 4, 16", "GeForce RTX 3060", 12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU, 16376, 4, 8", "GeForce RTX 4090 Laptop", 16),
        ("NVIDIA RTX 6000 Ada Generation, 49140, 4, 16", "RTX 6000 Ada Generation", 48),
        (
            "NVIDIA RTX PRO 6000 Blackwell Workstation Edition, 97887, 5, 16",
            "RTX PRO 6000 Blackwell",
            96,
        ),
        ("Quadro RTX 6000, 24576, 3, 16", "Quadro RTX 6000", 24),
        ("Tesla T4, 15360, 3, 16", "Tesla T4", 16),
        ("NVIDIA GH200 480GB, 97871, 5, 16", "GH200", 96),
    ],
)
def test_drivers_names_are_known(printed: str, name: str, size: int) -> None:
    """As nvidia-smi prints them, whatever size stands in the name."""
    system = _system(gpus=printed)
    if name == "GH200":
        system = _system(gpus=printed, name="Neoverse-V2")
    machine = detected_machine(system)
    assert machine.gpu.name == name
    assert f"1 x {name} of {size} GiB" in machine.description


@pytest.mark.parametrize(
    ("type_name", "speed", "named"),
    [
        ("LPDDR5", 6400, "32GB LPDDR5-6400"),
        ("LPDDR5", 7467, "32GB LPDDR5X-7467"),
        ("LPDDR5", 99999, None),
    ],
)
def test_soldered_memory_is_named_by_its_size(
    type_name: str, speed: int, named: str | None
) -> None:
    """Its packages are no channels; a rate that the kind has not is of the next kind, or unknown."""
    package = f"Memory Device\n\tSize: 4 GB\n\tType: {type_name}\n\tSpeed: {speed} MT/s\n"
    name = "Intel(R) Core(TM) Ultra 7 155H"
    machine = detected_machine(_system(name=name, cores=16, modules="\n".join([package] * 8)))
    assert machine.name == " + ".join(filter(None, ("Core Ultra 7 155H", named)))
    assert ("which memory modules" in machine.assumptions[0]) == (named is None)


def test_what_only_the_administrator_may_ask_is_assumed() -> None:
    """Without dmidecode the channels are taken to be filled, and that is said."""
    machine = detected_machine(_system())
    assert len(machine.assumptions) == 1
    assert "does not say which memory modules" in machine.assumptions[0]
    assert "GiB of memory" in machine.description


def test_an_unknown_cpu_is_taken_as_the_system_describes_it() -> None:
    """Cores and instructions are its own; the machine is one that a file can hold."""
    machine = detected_machine(
        _system(name="Frobnicator 9000", cores=6, flags="avx512f avx512_bf16"),
    )
    assert (machine.cpu.cores, machine.cpu.instructions) == (6, ("avx2", "avx512", "bf16"))
    assert "the library has no CPU 'Frobnicator 9000'" in machine.assumptions[0]
    assert parse_machine(machine_data(machine), "file") == machine


def test_an_unknown_cpu_takes_the_modules_that_it_has() -> None:
    """Whatever the CPU takes whose channels it is given."""
    module = MODULE.format(size="16 GB").replace("DDR5", "DDR4").replace("4800", "3200")
    machine = detected_machine(_system(name="Frobnicator 9000", modules=f"{module}\n{module}"))
    assert machine.name == "Frobnicator 9000 + 2x16GB DDR4-3200"
    assert machine.cpu.memory_bytes_per_s.value == 2 * 3200e6 * 8


def test_an_unknown_gpu_is_named() -> None:
    """With the way to write the machine by hand."""
    with pytest.raises(
        InputError,
        match=r"the library has no GPU 'NVIDIA Frobnicator'; .* rosin machines new",
    ):
        detected_machine(_system(gpus="NVIDIA Frobnicator, 8192, 4, 16"))


def test_a_system_that_says_nothing_is_still_a_machine() -> None:
    """Of one core."""
    machine = detected_machine(found_system(lambda command: "", lambda path: ""))
    assert machine.cpu.cores == 1
