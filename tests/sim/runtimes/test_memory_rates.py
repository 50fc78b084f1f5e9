"""What the CPU's memory gives: by its datasheet, by a probe, by both, or only assumed."""

from dataclasses import replace
from pathlib import Path

import pytest

from hwprofiles import load_machine
from sim.runtimes.constants import shipped_constants
from sim.runtimes.host import RuntimeHost
from sim.runtimes.machine_host import runtime_host
from sim.runtimes.predict import predict
from sim.runtimes.prices import dram_bytes_per_s
from sim.runtimes.steps import steps_of
from tests.sim.runtimes.examples import DESKTOP, SERVER, question

ONE_SOCKET = replace(SERVER, sockets=1)
FILE = """
format: rosin-machine/1
name: mine
description: a desktop
gpu: {count: 0, name: none, memory_bytes: {value: 0, kind: assumed, source: none, date: 2026},
  memory_bytes_per_s: {value: 1e9, kind: assumed, source: none, date: 2026},
  flops_per_s: {bf16: {value: 1e12, kind: assumed, source: none, date: 2026}},
  launch_overhead_ns: {value: 5e3, kind: assumed, source: none, date: 2026}}
cpu:
  name: Ryzen 9 7950X
  cores: 16
  memory_bytes_per_s: {value: 60e9, RATE, source: none, date: 2026}
  flops_per_s: {bf16: {value: 1e12, kind: assumed, source: none, date: 2026}}
  call_overhead_ns: {value: 20e3, kind: assumed, source: none, date: 2026}
link: {name: none,
  h2d: {bytes_per_s: {value: 1e9, kind: assumed, source: none, date: 2026},
    latency_ns: {value: 1e4, kind: assumed, source: none, date: 2026}},
  d2h: {bytes_per_s: {value: 1e9, kind: assumed, source: none, date: 2026},
    latency_ns: {value: 1e4, kind: assumed, source: none, date: 2026}}}
host: {layer_overhead_ns: {value: 0, kind: assumed, source: none, date: 2026},
  step_overhead_ns: {value: 0, kind: assumed, source: none, date: 2026}}
"""
SHARE = "efficiency: {value: 0.7, kind: assumed, source: none, date: 2026}"


def _rate(host: RuntimeHost) -> float:
    step = steps_of(question("-ngl 99 -cmoe", host=host)).decode
    return float(dram_bytes_per_s(step, shipped_constants()))


@pytest.mark.parametrize("host", [DESKTOP, ONE_SOCKET])
def test_a_probe_and_a_datasheet_meet_halfway(host: RuntimeHost) -> None:
    """Both known, the rate is the root of what each says alone."""
    probed = replace(host, probe_bytes_per_s=100e9)
    alone = replace(probed, dram_bytes_per_s=None)
    assert _rate(probed) == pytest.approx((_rate(host) * _rate(alone)) ** 0.5)


def test_a_server_reads_less_of_its_probe() -> None:
    """What streams reach on a server, threads that wait for each other do not."""
    server = replace(ONE_SOCKET, probe_bytes_per_s=100e9, dram_bytes_per_s=None)
    desktop = replace(DESKTOP, probe_bytes_per_s=100e9, dram_bytes_per_s=None)
    assert _rate(server) < _rate(desktop)


@pytest.mark.parametrize("host", [DESKTOP, ONE_SOCKET])
def test_each_way_to_know_a_rate_has_its_width(host: RuntimeHost) -> None:
    """Both narrow the range more than one does; an assumed rate widens it beyond a datasheet's."""
    rate = _rate(host)
    constants = shipped_constants()
    share = constants.server_probe_fraction if host.is_server else constants.desktop_probe_fraction
    # All four read at the same rate, so that nothing but what they know of it differs.
    probed = replace(host, probe_bytes_per_s=rate / share)
    alone = replace(probed, dram_bytes_per_s=None)
    assumed = replace(
        alone, probe_bytes_per_s=rate / constants.assumed_rate_fraction, is_probe_assumed=True
    )
    widths = []
    for own in (probed, alone, host, assumed):
        speed = predict(question("-ngl 99 -cmoe", host=own)).decode
        widths.append(speed.high_tokens_per_s / speed.low_tokens_per_s)
    assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("rate", "datasheet", "probe", "is_assumed"),
    [
        (f"kind: datasheet, {SHARE}", 60e9, None, False),
        ("kind: datasheet", 60e9, None, False),
        (f"kind: assumed, {SHARE}", 60e9, None, False),
        ("kind: assumed", None, 60e9, True),
        ("kind: fitted", None, 60e9, False),
        ("kind: published", None, 60e9, False),
        ("kind: measured", None, 60e9, False),
    ],
)
def test_what_a_file_says_of_its_rate(
    tmp_path: Path, rate: str, datasheet: float | None, probe: float | None, is_assumed: bool
) -> None:
    """A rate with an efficiency is a datasheet's, any other what is reached; assumed, it may be either."""
    path = tmp_path / "mine.yaml"
    path.write_text(FILE.replace("RATE", rate), encoding="utf-8")
    host = runtime_host(load_machine(str(path)))
    assert (host.dram_bytes_per_s, host.probe_bytes_per_s) == (datasheet, probe)
    assert host.is_probe_assumed is is_assumed


def test_what_is_set_is_reached() -> None:
    """`--set` gives the effective rate, whatever the machine's file or line said before."""
    line = "RTX 3090 + Ryzen 9 7950X + 2x32GB DDR5-4800"
    host = runtime_host(load_machine(line, ("cpu.memory_bytes_per_s=60GB",)))
    assert (host.dram_bytes_per_s, host.probe_bytes_per_s) == (None, 60e9)
    assert not host.is_probe_assumed
