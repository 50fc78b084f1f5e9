"""Host time of a layer on fMoE's testbed, from the measured loops of ``host_time.csv``.

All five systems run in one engine, with a hook before and after every module, so the loop with
hooks stands for each. ``benchmarks/fmoe_host_time.py`` measured the loop with transformers 4.47.1
and torch 2.13, on one core of a shared Xeon at 2.8 GHz. The released code asks for transformers
4.37.1 to 4.50. The figures are the least of 15 repeats; medians are 2 to 22 % more. The machine
prices launches.
"""

import csv
from importlib import resources

from hwprofiles import Machine
from hwprofiles.units import NS_PER_US

DECODED_TOKENS = 1
"""Tokens of the pass whose time is charged: all but one of a request's passes decode one token."""


def layer_overhead_ns(model: str, machine: Machine, *, has_hooks: bool = True) -> float:
    """Return ns of host time in a layer: Python and dispatch, and the launches of its kernels."""
    row = next(row for row in _rows() if _is_meant(row, model, has_hooks))
    launch_ns = machine.gpu.launch_overhead_ns.effective
    return float(row["least_us"]) * NS_PER_US + int(row["num_kernels"]) * launch_ns


def kernel_overhead_ns(model: str, machine: Machine) -> float:
    """Return ns of host time for one kernel of a small operator, as the model's loop takes it."""
    row = next(row for row in _rows() if _is_meant(row, model, False))
    return layer_overhead_ns(model, machine, has_hooks=False) / int(row["num_kernels"])


def _is_meant(row: dict[str, str], model: str, has_hooks: bool) -> bool:
    is_alike = (row["has_hooks"] == "True") == has_hooks
    return row["model"] == model and int(row["tokens"]) == DECODED_TOKENS and is_alike


def _rows() -> list[dict[str, str]]:
    path = resources.files("validation.published.fmoe") / "host_time.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
