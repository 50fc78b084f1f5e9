"""Measured rows made up from the prices themselves, so that a fit has a right answer."""

from collections.abc import Mapping
from dataclasses import replace

from hwprofiles import InputError
from sim.runtimes.constants import Constants, shipped_constants
from sim.runtimes.host import RuntimeHost
from sim.runtimes.prices import decode_seconds, prefill_seconds
from tests.sim.runtimes.examples import DESKTOP, GPU, SERVER
from validation.accuracy.points import priced
from validation.accuracy.questions import ask
from validation.accuracy.rows import MeasuredRow

HOSTS: Mapping[str, RuntimeHost] = {
    "small + DDR": replace(DESKTOP, dram_bytes_per_s=50e9),
    "plain + DDR": DESKTOP,
    "large + DDR": replace(
        DESKTOP, dram_bytes_per_s=120e9, gpus=(replace(GPU, bytes_per_s=1800e9),)
    ),
    "server + DDR": replace(SERVER, sockets=1),
}
LINES = ("-ngl 99 -cmoe", "-ngl 99 -ncmoe 24", "-ngl 99 -cmoe -ub 2048")
MODELS = ("qwen3-30b-a3b", "qwen3-235b-a22b")
TRUE = replace(shipped_constants(), desktop_dram_fraction=0.6, crossing_us=90.0, link_fraction=0.8)


def host_of(line: str) -> RuntimeHost:
    """The machine of that name. Raises InputError for another."""
    if line not in HOSTS:
        raise InputError(f"part {line!r} is not understood")
    return HOSTS[line]


def synthetic_rows(constants: Constants = TRUE) -> list[MeasuredRow]:
    """A row for each machine, model and line, measured as the constants say."""
    return [
        _measured(_row(machine, model, line), constants)
        for machine in HOSTS
        for model in MODELS
        for line in LINES
    ]


def _row(machine: str, model: str, line: str) -> MeasuredRow:
    return MeasuredRow(
        id=f"{machine}/{model}/{line}",
        rig=machine.split()[0],
        machine=machine,
        model=model,
        runtime="llama.cpp",
        args=line,
        quantization="Q4_K_M",
        bytes_per_weight="experts=0.58;dense=0.6;embedding=0.6",
    )


def _measured(row: MeasuredRow, constants: Constants) -> MeasuredRow:
    steps = priced(ask(row, host_of)).steps
    assert steps is not None
    return replace(
        row,
        decode_tokens_per_s=float(1 / decode_seconds(steps.decode, constants).total),
        prefill_tokens_per_s=float(512 / prefill_seconds(steps.prefill, constants).total),
    )
