"""The page on machine files tells the truth: its example loads and its tables agree with the
library.
"""

import re
from pathlib import Path

import pytest

from hwprofiles.library import load_machine, machine_names
from hwprofiles.machine import Machine
from hwprofiles.quantity import Efficiency, Kind, Quantity
from hwprofiles.units import GB, MIB

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "machines.md"


def section(title: str) -> str:
    """The text under one second-level heading."""
    return PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(title: str) -> dict[str, list[str]]:
    """The rows of a section's table, by their first cell."""
    rows = [
        line.strip("| ").split(" | ")
        for line in section(title).splitlines()
        if line.startswith("| ")
    ]
    return {cells[0].strip("`"): cells[1:] for cells in rows[2:]}


def efficiencies(machine: Machine) -> set[float]:
    """The efficiencies that a machine uses."""
    links = [
        rate
        for way in (machine.link.h2d, machine.link.d2h)
        for rate in (way.bytes_per_s, way.pageable_bytes_per_s)
        if rate
    ]
    rates = [
        *machine.gpu.flops_per_s.values(),
        *machine.cpu.flops_per_s.values(),
        machine.gpu.memory_bytes_per_s,
        *links,
    ]
    rates += [machine.cpu.memory_bytes_per_s, *([machine.disk.bytes_per_s] if machine.disk else [])]
    return {rate.efficiency.value for rate in rates if rate.efficiency}


def test_the_example_loads(tmp_path: Path) -> None:
    """What the page calls a complete machine is one, with every optional part."""
    example = re.search(r"```yaml\n(.*?)```", section("The format by example"), re.DOTALL)
    assert example
    path = tmp_path / "example.yaml"
    path.write_text(example.group(1), encoding="utf-8")
    machine = load_machine(str(path))
    assert machine.curves and machine.interference and machine.disk and machine.price_usd


def test_every_efficiency_in_use_is_explained() -> None:
    """The page lists the efficiencies of the library, no more and no fewer."""
    listed = {float(cells[0]) for cells in table("Efficiencies").values()}
    assert listed == set().union(*(efficiencies(load_machine(name)) for name in machine_names()))


def test_kinds_are_listed_in_order() -> None:
    """From strongest to weakest, as the code ranks them."""
    assert list(table("Provenance")) == [kind.value for kind in Kind]


def stated(rate: Quantity) -> str:
    """A rate as the page's table writes it."""
    share: Efficiency | None = rate.efficiency
    return f"{rate.effective / GB:.4g} ({rate.kind.value}{f' × {share.value:g}' if share else ''})"


@pytest.mark.parametrize("name", machine_names())
def test_the_table_agrees_with_the_library(name: str) -> None:
    """Memory, rates and provenance of each shipped machine."""
    machine = load_machine(name)
    _, vram, gpu, link, cpu, _ = table("Machines that ship")[name]
    assert (
        vram
        == f"{machine.gpu.memory_bytes.value / MIB:.0f} MiB ({machine.gpu.memory_bytes.kind.value})"
    )
    assert [gpu, link, cpu] == [
        stated(machine.gpu.memory_bytes_per_s),
        stated(machine.link.h2d.bytes_per_s),
        stated(machine.cpu.memory_bytes_per_s),
    ]
