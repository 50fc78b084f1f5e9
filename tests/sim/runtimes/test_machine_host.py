"""Machines as runtimes see them, from lines of parts and from files."""

import re

import pytest

from hwprofiles import load_machine
from hwprofiles.parts.library import parts_library
from sim.runtimes.features import lag, width
from sim.runtimes.host import Vector
from sim.runtimes.machine_host import SERVER_CARDS, host_assumptions, runtime_host


@pytest.mark.parametrize(
    ("cpu", "vector", "bits"),
    [
        ("Ryzen 9 7950X", Vector.VNNI, 256),
        ("Ryzen 9 9950X", Vector.VNNI, 512),
        ("Ryzen 7 5800X", Vector.AVX2, 256),
        ("Core i9-13900K", Vector.SHORT_DOT, 256),
        ("Xeon Gold 6454S", Vector.AMX, 512),
        ("Xeon E5-2697A v4", Vector.AVX2, 256),
    ],
)
def test_instructions(cpu: str, vector: Vector, bits: int) -> None:
    """What each generation of cores computes with."""
    host = runtime_host(load_machine(f"RTX 3090 + {cpu}"))
    assert (host.vector, host.vector_bits) == (vector, bits)


def test_neon_lags_behind_nothing() -> None:
    """Apple's cores multiply at one clock as many quantised weights as any with VNNI."""
    host = runtime_host(load_machine("Apple M2 Max 32GB"))
    assert host.vector is Vector.NEON
    assert (lag(host), width(host)) == (0.0, 1.0)


def test_sockets_and_unlike_gpus() -> None:
    """Memory and cores are of one socket; GPUs are in the order named, each with its link."""
    host = runtime_host(load_machine("RTX 4090 + 2xRTX 3090 + 2xEPYC 9115 + 2x(12x32GB DDR5-5600)"))
    assert [gpu.name.split()[-1] for gpu in host.gpus] == ["4090", "3090", "3090"]
    assert (host.sockets, host.cores_per_socket, host.is_server) == (2, 16, True)
    assert host.dram_bytes_per_s == pytest.approx(12 * 5600e6 * 8)
    assert host.probe_bytes_per_s is None


def test_fast_cores_alone_count() -> None:
    """Threads run on performance cores by default."""
    assert runtime_host(load_machine("RTX 4090 + Core i9-13900K")).cores_per_socket == 8


def test_no_gpu() -> None:
    """A machine without a GPU has none."""
    host = runtime_host(load_machine("Ryzen 9 7950X + 2x32GB DDR5-4800"))
    assert host.gpus == ()
    assert not host.is_server


@pytest.mark.parametrize(
    ("gpu", "is_server_card"),
    [
        ("Tesla P40", True),
        ("Tesla P100", True),
        ("Tesla V100 32GB", True),
        ("A100 PCIe 40GB", True),
        ("H100 SXM", True),
        ("H200 SXM", True),
        ("B200", True),
        ("GTX 1080", True),
        ("GTX 970", True),
        ("Tesla M40", True),
        ("RTX A1000", False),
        ("RTX A6000", False),
        ("RTX 3090", False),
        ("L40S", False),
        ("RTX PRO 6000", False),
        ("Instinct MI50", False),
    ],
)
def test_cards_with_hbm_and_of_pascal_and_maxwell(gpu: str, is_server_card: bool) -> None:
    """They decode slower than their memory's rate lets expect of other cards."""
    host = runtime_host(load_machine(f"{gpu} + Ryzen 9 7950X + 2x32GB DDR5-4800"))
    assert host.gpus[0].is_server_card is is_server_card


OLD_FAMILIES = ("GeForce GTX 10", "Quadro and Tesla of Pascal", "Tesla P100", "Maxwell")
"""Families of the library."""


def test_every_card_of_the_library_is_told_apart_by_its_name() -> None:
    """A machine's file has a name and no family, so names have to say what families do."""
    parts = [part for sizes in parts_library().gpus.values() for part in sizes]
    for part in parts:
        is_server_card = part.maker == "nvidia" and (
            part.memory_class == "HBM" or part.family in OLD_FAMILIES
        )
        assert bool(re.search(SERVER_CARDS, part.name)) is is_server_card, part.name


def test_machine_file_that_states_little() -> None:
    """What a file does not state of its CPU is assumed, and said."""
    machine = load_machine("desktop-rtx-4090-ddr5")
    assert runtime_host(machine).vector is Vector.SHORT_DOT
    assert any("clock" in sentence for sentence in host_assumptions(machine))


@pytest.mark.parametrize(
    ("gpu", "tera"),
    [("RTX 3090", 142), ("RTX A6000", 155), ("RTX 4080", 195), ("H100", 990), ("Tesla P100", 19)],
)
def test_a_gpu_s_peak_is_of_sums_in_16_bits(gpu: str, tera: float) -> None:
    """Half of int8 where a card has that, which GeForce cards state halved for sums in 32 bits."""
    host = runtime_host(load_machine(f"{gpu} + Ryzen 9 7950X"))
    assert host.gpus[0].flops_per_s == pytest.approx(tera * 1e12, rel=0.02)


@pytest.mark.parametrize(
    ("cpu", "is_server"),
    [
        ("Core i9-10900X", True),
        ("Threadripper PRO 7965WX", True),
        ("Core i9-14900HX", False),
        ("Core i9-13900K", False),
    ],
)
def test_workstations_with_a_server_s_die(cpu: str, is_server: bool) -> None:
    """They read memory through a server's mesh or fabric."""
    assert runtime_host(load_machine(f"RTX 3090 + {cpu}")).is_server is is_server
