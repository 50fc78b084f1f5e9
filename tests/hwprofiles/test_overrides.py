"""``--set path=value``: each form that works, and one line for each that does not."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hwprofiles.errors import InputError
from hwprofiles.library import load_machine
from hwprofiles.machine import Machine
from hwprofiles.overrides import apply_overrides
from hwprofiles.quantity import Kind, Quantity

MACHINE = "desktop-rtx-4090-ddr5"


def _quantities(part: Any, path: str = "") -> Iterator[str]:
    """The paths of every quantity of a machine that --set reaches."""
    if isinstance(part, Quantity):
        yield path
        return
    inner = part if isinstance(part, dict) else dict(part) if isinstance(part, BaseModel) else {}
    for name, value in inner.items():
        yield from _quantities(value, f"{path}.{name}" if path else name)


SHIPPED = load_machine(MACHINE)
PATHS = sorted(
    path for path in _quantities(SHIPPED) if not path.startswith(("curves", "other_gpus"))
)
SUFFIXES = {"": 1, "GB": 10**9, "GiB": 2**30, "MB/s": 10**6}


def _at(machine: Machine, path: str) -> Any:
    part: Any = machine
    for key in path.split("."):
        part = part[key] if isinstance(part, dict) else getattr(part, key)
    return part


def test_every_part_of_a_machine_has_numbers_to_set() -> None:
    """The properties below go over all of them."""
    assert {path.partition(".")[0] for path in PATHS} >= {"gpu", "cpu", "link", "host", "disk"}
    assert len(PATHS) > 20


@given(path=st.sampled_from(PATHS), number=st.integers(1, 999), suffix=st.sampled_from([*SUFFIXES]))
def test_a_quantity_is_set_to_its_effective_value(path: str, number: int, suffix: str) -> None:
    """The efficiency goes, and the number says that the user set it; the rest of the machine stays.
    What a machine cannot have is refused, and the line names what was typed.
    """
    override = f"{path}={number}{suffix}"
    try:
        machine = load_machine(MACHINE, [override])
    except InputError as error:
        assert f"`overrides` {override}: " in str(error)
        assert "\n" not in str(error)
        return
    part = _at(machine, path)
    assert part.effective == number * SUFFIXES[suffix]
    assert part.provenance.kind is Kind.ASSUMED
    assert part.source == "set by the user"
    others = [other for other in PATHS if other != path]
    assert [_at(machine, other) for other in others] == [_at(SHIPPED, other) for other in others]


@pytest.mark.parametrize(
    ("override", "effective"),
    [
        ("gpu.memory_bytes=24GiB", 24 * 2**30),
        ("host.step_overhead_ns=0", 0),
        ("price_usd=1e3", 1e3),
    ],
)
def test_usual_overrides_are_taken(override: str, effective: float) -> None:
    """So that the property above does not hold by refusing all."""
    path = override.partition("=")[0]
    assert _at(load_machine(MACHINE, [override]), path).effective == effective


@given(path=st.sampled_from(PATHS), data=st.data())
def test_a_slip_in_a_path_names_a_key_that_is_there(path: str, data: st.DataObject) -> None:
    """One letter too few in a key: the line shows what was typed and the nearest key."""
    keys = path.split(".")
    index = data.draw(st.integers(0, len(keys) - 1))
    cut = data.draw(st.integers(0, len(keys[index]) - 1))
    slip = keys[index][:cut] + keys[index][cut + 1 :]
    override = ".".join([*keys[:index], slip, *keys[index + 1 :]]) + "=1"
    with pytest.raises(InputError) as caught:
        load_machine(MACHINE, [override])
    line = str(caught.value)
    assert f"`overrides` {override}: " in line
    assert "did you mean" in line or "known: " in line or "write " in line
    assert "\n" not in line


def test_optional_quantity_that_the_file_leaves_out_can_be_set() -> None:
    """Fiddler's DRAM is not stated; a user may state it."""
    assert load_machine("fiddler-e1").cpu.memory_bytes is None
    machine = load_machine("fiddler-e1", ["cpu.memory_bytes=192GiB"])
    assert machine.cpu.memory_bytes is not None
    assert machine.cpu.memory_bytes.effective == 192 * 2**30


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "link.h2d.bytes_per_sec=1",
            "link.h2d has no key 'bytes_per_sec'; did you mean 'bytes_per_s'?",
        ),
        ("gpuu.count=1", "a machine has no key 'gpuu'; did you mean 'gpu'?"),
        ("gpu.flops_per_s.bf61=1e14", "gpu.flops_per_s has no key 'bf61'; did you mean 'bf16'?"),
        (
            "link.h2d=1",
            "link.h2d is a group; its keys: bytes_per_s, pageable_bytes_per_s, latency_ns",
        ),
        ("gpu.flops_per_s=1", "gpu.flops_per_s is a group; its keys: bf16, fp8, int8"),
        (
            "gpu.memory_bytes.value=1",
            "gpu.memory_bytes is a single value; write gpu.memory_bytes=1",
        ),
        ("remote.bytes_per_s=1", "this machine has no remote; write that part into a machine file"),
        ("gpu.memory_bytes=-1", "gpu.memory_bytes must be a finite number of at least 0, got -1"),
        ("gpu.memory_bytes=inf", "gpu.memory_bytes must be a finite number of at least 0, got inf"),
        (
            "gpu.memory_bytes=1e999",
            "gpu.memory_bytes must be a finite number of at least 0, got 1e999",
        ),
        ("gpu.memory_bytes=nan", "'nan' is not a number; write for example 50e9, 24GB or 64GiB"),
        ("gpu.memory_bytes=lots", "'lots' is not a number; write for example 50e9, 24GB or 64GiB"),
        ("gpu.count=2.5", "gpu.count must be a whole number, got 2.5"),
        ("gpu.count", "write path=value, for example link.h2d.bytes_per_s=50e9"),
        ("gpu.count=", "write path=value, for example link.h2d.bytes_per_s=50e9"),
        ("=5", "write path=value, for example link.h2d.bytes_per_s=50e9"),
        ("curves=5", "curves are set in a machine file, not with `overrides`"),
        ("interference.cpu.hd2=0.5", "no resource named 'hd2'; did you mean 'h2d'?"),
        (
            "interference.cpu.h2d=-1",
            "interference.cpu.h2d must be a finite number of at least 0, got -1",
        ),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(override: str, message: str) -> None:
    """The line names the override and what would be right."""
    with pytest.raises(InputError) as caught:
        load_machine(MACHINE, [override])
    assert str(caught.value) == f"`overrides` {override}: {message}"


def test_a_bare_interference_path_shows_the_form() -> None:
    """The path of a factor names two resources."""
    with pytest.raises(
        InputError,
        match=r"write interference\.BUSY\.SLOWS=FRACTION, .*resources: gpu, h2d, d2h, cpu, disk$",
    ):
        load_machine(MACHINE, ["interference.cpu=0.5"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "gpu.count=0",
            "gpu: count 0 says that there is no GPU, so memory_bytes must be 0, got 2.53934e+10",
        ),
        ("link.h2d.bytes_per_s=0", "link.h2d.bytes_per_s: a rate must be greater than 0, got 0"),
        ("interference.cpu.h2d=1.5", "interference.0: rate_fraction must be at most 1, got 1.5"),
        ("interference.cpu.cpu=0.5", "interference.0: busy and slows must differ, got cpu twice"),
    ],
)
def test_a_value_that_the_machine_cannot_have_is_refused(override: str, message: str) -> None:
    """What passes as a number still has to fit the machine."""
    with pytest.raises(InputError) as caught:
        load_machine(MACHINE, [override])
    assert str(caught.value) == f"{MACHINE} with `overrides` {override}: {message}"


def test_a_rate_of_the_link_replaces_the_curve_of_its_copies() -> None:
    """Of that direction and kind of memory alone; a latency, of both kinds; curves of operations
    stay.
    """
    source = {"kind": "measured", "source": "a test", "date": "2026"}
    copies = [
        {"operation": "copy", "device": device, "points": [[1, 5], [9, 9]], **source}
        for device in ("h2d", "h2d_pageable", "d2h")
    ]
    expert = {"operation": "expert", "device": "gpu", "points": [[1, 5]], **source}
    data = load_machine("h100").model_dump(mode="json", exclude_none=True) | {
        "curves": [*copies, expert]
    }

    def left(override: str) -> list[str]:
        return [curve["device"] for curve in apply_overrides(data, [override])["curves"]]

    assert left("link.h2d.bytes_per_s=50e9") == ["h2d_pageable", "d2h", "gpu"]
    assert left("link.h2d.pageable_bytes_per_s=5e9") == ["h2d", "d2h", "gpu"]
    assert left("link.h2d.latency_ns=5") == ["d2h", "gpu"]
    assert left("gpu.memory_bytes_per_s=1e12") == ["h2d", "h2d_pageable", "d2h", "gpu"]
    assert len(data["curves"]) == 4, "the data itself is left alone"


@pytest.mark.parametrize(
    ("override", "is_kept"),
    [
        ("gpu.memory_bytes_per_s=6e12", False),
        ("gpu.flops_per_s.bf16=1e15", False),
        ("gpu.kernel_ns=0", False),
        ("gpu.memory_bytes=40GB", True),
        ("cpu.memory_bytes_per_s=1e11", True),
        ("link.h2d.bytes_per_s=1e10", True),
    ],
)
def test_a_rate_of_the_gpu_replaces_the_curves_of_its_card(override: str, is_kept: bool) -> None:
    """A shipped card with another rate is another card; its memory's size changes no kernel."""
    assert bool(load_machine("h100", [override]).curves) is is_kept


PAIRS = st.permutations(["gpu", "cpu", "h2d", "d2h"]).map(lambda names: (names[0], names[1]))


@given(st.lists(st.tuples(PAIRS, st.integers(1, 100)), min_size=1, max_size=6))
def test_a_factor_of_interference_is_added_and_replaced(
    rows: list[tuple[tuple[str, str], int]],
) -> None:
    """While the first is busy, the other progresses at the fraction; the last of one pair wins,
    others stay.
    """
    overrides = [f"interference.{busy}.{slows}={percent / 100}" for (busy, slows), percent in rows]
    factors = {
        (entry.busy, entry.slows): entry.rate_fraction.effective
        for entry in load_machine(MACHINE, overrides).interference
    }
    before = {
        (entry.busy, entry.slows): entry.rate_fraction.effective for entry in SHIPPED.interference
    }
    assert factors == before | {pair: percent / 100 for pair, percent in rows}


@given(st.lists(st.integers(1, 16), min_size=1, max_size=4), st.text("abc-1", min_size=1))
def test_counts_and_names_are_set(counts: list[int], name: str) -> None:
    """Whole numbers and text are not quantities, and the last of several wins."""
    machine = load_machine(MACHINE, [*(f"gpu.count={count}" for count in counts), f"name={name}"])
    assert (machine.gpu.count, machine.name) == (counts[-1], name)
