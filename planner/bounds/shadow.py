"""Shadow prices: what a little more of a resource would change in the static bound."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine, Quantity
from hwprofiles.units import NS_PER_S
from planner.bounds.static import StaticRelaxation, relax, relaxation
from planner.bounds.stores import LOOSEST
from planner.bounds.work import work_of
from sim.memory import MemoryRule
from sim.policies.problem import Problem
from sim.workload import Passes

GIGA = 10**9
STEP = 1e-3
"""Relative change of a rate over which the bound's derivative is taken."""


def shadow_prices(problem: Problem, passes: Passes, tokens: NDArray[np.int32], rule: MemoryRule = LOOSEST) -> dict[str, float]:
    """Change of the static end-to-end bound in seconds per GB of GPU memory, per GB/s of the link to the GPU, and per GB/s of DRAM (10^9).

    Negative: it would save that much. These are derivatives at the machine as it is, at the bound's own multipliers (the envelope
    theorem), so they hold for small changes. Layers pipelined over micro-batches have none.
    A measured curve stands for itself: where it prices an operation, a rate changes nothing.
    """
    if problem.feeding.is_pipelined:
        return {}
    found = relax(problem, passes, tokens, rule)

    def per_rate(quantity: Quantity, change: Callable[[Machine, float], Machine]) -> float:
        faster = replace(problem, machine=change(problem.machine, 1 + STEP))
        return _difference_s(found, faster, passes, tokens) / (quantity.effective * STEP / GIGA)

    return {
        "end_to_end_s_per_gpu_memory_gb": -found.whole.multipliers.byte_price * GIGA / NS_PER_S,
        "end_to_end_s_per_h2d_gb_per_s": per_rate(problem.machine.link.h2d.bytes_per_s, _faster_link),
        "end_to_end_s_per_dram_gb_per_s": per_rate(problem.machine.cpu.memory_bytes_per_s, _faster_dram),
    }


def _difference_s(found: StaticRelaxation, faster: Problem, passes: Passes, tokens: NDArray[np.int32]) -> float:
    """What the faster machine changes at the multipliers at hand."""
    everything = np.ones(len(passes), bool)
    dual = relaxation(work_of(faster, passes, tokens), found.stores, everything, found.whole.streaming)
    return (dual.value_ns(found.whole.multipliers) - found.whole.dual.value_ns(found.whole.multipliers)) / NS_PER_S


def _scaled(quantity: Quantity, factor: float) -> Quantity:
    return quantity.model_copy(update={"value": quantity.value * factor})


def _faster_link(machine: Machine, factor: float) -> Machine:
    h2d = machine.link.h2d
    pageable = None if h2d.pageable_bytes_per_s is None else _scaled(h2d.pageable_bytes_per_s, factor)
    faster = h2d.model_copy(update={"bytes_per_s": _scaled(h2d.bytes_per_s, factor), "pageable_bytes_per_s": pageable})
    return machine.model_copy(update={"link": machine.link.model_copy(update={"h2d": faster})})


def _faster_dram(machine: Machine, factor: float) -> Machine:
    rate = _scaled(machine.cpu.memory_bytes_per_s, factor)
    return machine.model_copy(update={"cpu": machine.cpu.model_copy(update={"memory_bytes_per_s": rate})})
