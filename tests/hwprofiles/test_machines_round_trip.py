"""Machines as files and as lines of parts: what is written is what is read, however it is typed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import load_machine, machine_data, machine_names, parse_machine, write_yaml

RATES = (
    "gpu.memory_bytes_per_s",
    "link.h2d.bytes_per_s",
    "link.d2h.bytes_per_s",
    "link.h2d.latency_ns",
    "host.layer_overhead_ns",
)
PLAIN = [name for name in machine_names() if load_machine(name).has_gpu]
GPUS = ("RTX 3090", "RTX 4090", "RTX 4080", "L40S", "RTX A6000", "RTX 5090")
CPUS = ("Ryzen 9 7950X", "Ryzen 9 9950X", "Core i9-13900KF", "EPYC 9654", "Xeon Gold 6454S")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for all examples."""
    return tmp_path_factory.mktemp("machines") / "machine.yaml"


@given(
    name=st.sampled_from(PLAIN),
    changes=st.dictionaries(st.sampled_from(RATES), st.floats(1e3, 1e13), max_size=4),
)
@settings(max_examples=20)
def test_a_machine_survives_its_file(name: str, changes: dict[str, float], path: Path) -> None:
    """With any of its rates set anew; each number is the one that was set, to the last digit."""
    machine = load_machine(name, [f"{key}={value!r}" for key, value in changes.items()])
    assert parse_machine(machine_data(machine), "file") == machine
    write_yaml(machine_data(machine), path)
    assert load_machine(str(path)) == machine


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, str]:
    """A line of parts as it stands in a list, and as somebody may type it."""
    count = draw(st.integers(1, 4))
    gpu = draw(st.sampled_from(GPUS))
    cpu = draw(st.sampled_from(CPUS))
    lanes = draw(st.sampled_from(["", " PCIe 4 x16", " PCIe 4 x8"]))
    times = "" if count == 1 else f"{count}x"
    plain = f"{times}{gpu}{lanes} + {cpu}"
    typed = plain.swapcase() if draw(st.booleans()) else plain.lower()
    plus = draw(st.sampled_from(["+", " + ", "  +  "]))
    return plain, plus.join(part.strip() for part in typed.split("+"))


@given(lines())
@settings(max_examples=50)
def test_capitals_and_spaces_change_no_machine(line: tuple[str, str]) -> None:
    """Another spelling is another name, and the same parts, rates and assumptions."""
    plain, typed = (machine_data(load_machine(each)) for each in line)
    for data in (plain, typed):
        del data["name"]
    # Sources quote the words of the line as they were typed.
    assert _folded(plain) == _folded(typed)


def _folded(data: dict[str, Any]) -> str:
    return "".join(str(data).lower().split())


@given(
    gpu=st.sampled_from(GPUS),
    count=st.integers(1, 8),
    modules=st.sampled_from([2, 4]),
    size=st.sampled_from([8, 16, 32, 48]),
    speed=st.sampled_from([4800, 5200, 5600, 6000]),
)
def test_numbers_of_a_line_are_those_of_the_machine(
    gpu: str, count: int, modules: int, size: int, speed: int
) -> None:
    """Cards, bytes of modules, and channels times speed, of which a desktop has two."""
    line = f"{count}x{gpu} + Ryzen 9 7950X + {modules}x{size}GB DDR5-{speed}"
    machine = load_machine(line)
    one = load_machine(f"{gpu} + Ryzen 9 7950X")
    assert machine.gpu.count == count
    assert machine.gpu.memory_bytes == one.gpu.memory_bytes
    assert machine.cpu.memory_bytes is not None
    assert machine.cpu.memory_bytes.value == modules * size * 2**30
    assert machine.cpu.memory_bytes_per_s.value == 2 * 8 * speed * 10**6
