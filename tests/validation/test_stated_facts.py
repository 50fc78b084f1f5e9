"""A measured machine file starts from what the computer says of itself."""

import pytest

from hwprofiles import InputError, Machine, load_machine, machine_data, parse_machine
from validation.measuring import stated_facts, with_stated_facts

LINE = "RTX 4090 + Core i9-14900K + 2x32GB DDR5-5600"


def _detected(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setattr(stated_facts, "detected_machine", lambda: machine)


def test_facts_that_no_measurement_shows_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """E cores, instructions and how the card hides work; measured numbers stay."""
    _detected(monkeypatch, load_machine(LINE))
    measured = machine_data(load_machine("h100"))
    measured["gpu"] |= {"name": "NVIDIA GeForce RTX 4090"}
    del measured["gpu"]["serial_fraction"]
    found = with_stated_facts(measured, has_gpu=True)
    machine = parse_machine(found, "measured")
    assert machine.cpu.efficiency_cores == 16
    assert "avx2" in machine.cpu.instructions
    rates = load_machine("h100").cpu.memory_bytes_per_s
    assert machine.cpu.memory_bytes_per_s == rates
    emulated = with_stated_facts(measured, has_gpu=False)
    assert emulated["gpu"] == measured["gpu"]


def test_an_unknown_computer_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measured file is as it was."""

    def unknown() -> Machine:
        raise InputError("no such GPU")

    monkeypatch.setattr(stated_facts, "detected_machine", unknown)
    measured = machine_data(load_machine("h100"))
    assert with_stated_facts(measured, has_gpu=True) == measured
