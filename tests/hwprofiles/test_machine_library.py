"""The machines that ship: they load, say where every number comes from, and agree with what was
published.
"""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from hwprofiles.curve import Curve
from hwprofiles.errors import InputError
from hwprofiles.library import load_machine, machine_names
from hwprofiles.quantity import Efficiency, Kind, Quantity

EXPERT_BYTES = 3 * 4096 * 14336 * 2  # Mixtral-8x7B, 16 bit

NAMES = {
    "a100-40",
    "a100-80",
    "a800-x8",
    "b200",
    "desktop-rtx-3060-ddr4",
    "desktop-rtx-3090-ddr4",
    "desktop-rtx-4090-ddr5",
    "desktop-rtx-5090-ddr5",
    "fiddler-e1",
    "fiddler-e2",
    "fiddler-l4",
    "fmoe-6x3090",
    "h100",
    "h100-x8",
    "h200",
    "h800-x8",
    "l40s",
    "rtx-pro-6000",
    "server-12ch-ddr5-rtx-5090",
    "server-8ch-ddr5-rtx-4090",
}


def parts(node: Any, path: str = "") -> Iterator[tuple[str, BaseModel]]:
    """Every model inside a machine, with its path."""
    if isinstance(node, BaseModel):
        yield path, node
        node = {name: getattr(node, name) for name in type(node).model_fields}
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, tuple)
        else ()
    )
    for key, child in children:
        yield from parts(child, f"{path}.{key}".lstrip("."))


def test_library_holds_the_promised_machines() -> None:
    """The names of the command line's contract are all there."""
    assert not NAMES - set(machine_names())


@pytest.mark.parametrize("name", machine_names())
def test_every_number_says_where_it_comes_from(name: str) -> None:
    """Each quantity, efficiency and curve has a source of some substance and a date."""
    stated = [
        (path, part)
        for path, part in parts(load_machine(name))
        if isinstance(part, Quantity | Efficiency | Curve)
    ]
    assert len(stated) >= 20
    for path, part in stated:
        assert len(part.source.strip()) >= 10, path
        assert part.date[:2] == "20", path


@pytest.mark.parametrize("name", machine_names())
def test_datasheet_rates_carry_an_efficiency(name: str) -> None:
    """A datasheet's rate is a peak, so each states what share of it is reached; a published one is
    taken as it is.
    """
    for path, part in parts(load_machine(name)):
        if not isinstance(part, Quantity):
            continue
        is_rate = path.endswith("_per_s") or ".flops_per_s." in path
        if is_rate and part.kind is Kind.DATASHEET:
            assert part.efficiency is not None, path
        if part.kind in {Kind.PUBLISHED, Kind.MEASURED}:
            assert part.efficiency is None, path
        if part.efficiency:
            assert 0 < part.efficiency.value <= 1, path


@pytest.mark.parametrize("name", machine_names())
def test_file_name_and_machine_name_agree(name: str) -> None:
    """A machine is found under the name it calls itself, and prices bf16 on both devices."""
    machine = load_machine(name)
    assert machine.name == name
    assert "bf16" in machine.gpu.flops_per_s and "bf16" in machine.cpu.flops_per_s


@pytest.mark.parametrize(("name", "num_experts"), [("fiddler-e1", 56), ("fiddler-e2", 125)])
def test_memory_gives_the_published_number_of_resident_experts(name: str, num_experts: int) -> None:
    """Fiddler's rule, floor((0.95 VRAM - 4.1007e9 bytes) / expert bytes), gives the N that its
    paper reports.
    """
    memory_bytes = load_machine(name).gpu.memory_bytes.effective
    assert math.floor((0.95 * memory_bytes - 4.1007e9) / EXPERT_BYTES) == num_experts


@pytest.mark.parametrize(
    ("name", "bytes_per_s"), [("fiddler-e1", 12.1e9), ("fiddler-e2", 24.2e9), ("fiddler-l4", 11e9)]
)
def test_links_of_fiddlers_machines_are_the_published_ones(name: str, bytes_per_s: float) -> None:
    """The one-way rates derived from DeepSpeed-MII, as published, not as assumed."""
    rate = load_machine(name).link.h2d.bytes_per_s
    assert rate.effective == bytes_per_s
    assert rate.provenance.kind is Kind.PUBLISHED


def test_streaming_a_whole_model_takes_the_published_time() -> None:
    """Derived anew: 93.4 GB over the link of fiddler-e2 take DeepSpeed-MII's 3.85 s a token, within
    1 %.
    """
    seconds = 93.4e9 / load_machine("fiddler-e2").link.h2d.bytes_per_s.effective
    assert seconds == pytest.approx(3.85, rel=0.01)


def test_copy_of_an_expert_on_fiddler_e1_takes_70_ms_from_pageable_memory() -> None:
    """The released code's constant, within the four digits of the rate."""
    rate = load_machine("fiddler-e1").link.h2d.pageable_bytes_per_s
    assert rate is not None
    assert EXPERT_BYTES / rate.effective == pytest.approx(0.070, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "bytes_per_s"),
    [("fiddler-e1", 128e9), ("fiddler-e2", 307.2e9), ("fiddler-l4", 140.8e9)],
)
def test_fiddlers_machines_read_one_sockets_memory(name: str, bytes_per_s: float) -> None:
    """The peak is that of one socket's channels; what is reached of it is what every server of the
    library reaches.
    """
    rate = load_machine(name).cpu.memory_bytes_per_s
    servers = (
        load_machine(server).cpu.memory_bytes_per_s.efficiency
        for server in ("h100", "a100-40", "ktransformers-4x4090")
    )
    assert rate.value == bytes_per_s
    assert {rate.efficiency} == set(servers)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("fiddler")])
def test_no_curve_prices_a_cpu_expert_of_fiddlers_machines(name: str) -> None:
    """The 7 ms a token of Fiddler's code are what its policies believe, not what the machine does."""
    assert [curve for curve in load_machine(name).curves if curve.device == "cpu"] == []


def test_gpu_curve_of_fiddler_e1_breaks_no_peak() -> None:
    """Nowhere on the curve does the GPU compute faster than its fp16 peak or read faster than its
    memory.
    """
    machine = load_machine("fiddler-e1")
    curve = next(curve for curve in machine.curves if curve.device == "gpu")
    for tokens, ns in curve.points:
        assert EXPERT_BYTES * tokens / (ns * 1e-9) <= machine.gpu.flops_per_s["fp16"].value
        assert EXPERT_BYTES / (ns * 1e-9) <= machine.gpu.memory_bytes_per_s.value


@pytest.mark.parametrize("name", machine_names())
def test_a_machine_survives_being_written_and_read(name: str, tmp_path: Any) -> None:
    """Dumped as YAML and loaded by path, it is the same machine."""
    machine = load_machine(name)
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(machine.model_dump(mode="json")), encoding="utf-8")
    assert load_machine(str(path)) == machine


def test_unknown_machine_is_refused_with_the_closest_name() -> None:
    """A misspelt name is one line that offers the right one."""
    with pytest.raises(
        InputError, match=r"^no machine named 'fidler-e1'; did you mean 'fiddler-e1'\?$"
    ):
        load_machine("fidler-e1")
