"""Shadow prices: what a little more of a resource would change in the static bound."""

from collections.abc import Sequence
from dataclasses import replace

from hwprofiles import Machine, Quantity
from hwprofiles.units import GB, NS_PER_S
from planner.bounds.draws import MeanBounds, works_of
from planner.bounds.relaxed import CardRuns, FixedPlans
from planner.bounds.stores import stores_of
from sim.costs.memory import MemoryRule
from sim.policies.problem import Problem
from sim.step.simulate import Drawn

STEP = 1e-3
"""Relative change of a rate over which the bound's derivative is taken."""


def mean_shadow_prices(
    problem: Problem, draws: Sequence[Drawn], rule: MemoryRule, bounds: MeanBounds
) -> dict[str, float]:
    """Return the change of the static bound on a mean with more of each resource, in seconds a
    unit.

    The units are GB of GPU memory, and GB/s of the link and of DRAM (10^9); less time is negative.
    The price of memory is that of the bound itself; those of the rates are taken over ``draws``.
    Pipelined micro-batches have no prices.
    """
    if problem.feeding.is_pipelined:
        return {}
    # At its best multipliers the bound's change is its change at fixed multipliers (the envelope
    # theorem), so nothing is solved again.
    stores = stores_of(problem, rule)
    price_ns = bounds.byte_price_s * NS_PER_S * len(draws)

    def value_s(machine: Machine) -> float:
        """Return the bound in seconds at its own multipliers, on that machine."""
        card = CardRuns(works=works_of(replace(problem, machine=machine), draws), stores=stores)
        plans = FixedPlans(cards=[card], are_alike=bounds.are_alike)
        return plans.value_ns(bounds.kind, [price_ns]) / NS_PER_S / len(draws)

    machine = problem.machine
    now = value_s(problem.machine)
    link, dram = (
        rate.effective * STEP
        for rate in (machine.link.h2d.bytes_per_s, machine.cpu.memory_bytes_per_s)
    )
    return {
        "end_to_end_s_per_gpu_memory_gb": -bounds.byte_price_s * GB,
        "end_to_end_s_per_h2d_gb_per_s": (value_s(with_more_link(machine, link)) - now)
        / (link / GB),
        "end_to_end_s_per_dram_gb_per_s": (value_s(with_more_dram(machine, dram)) - now)
        / (dram / GB),
    }


def with_more_memory(machine: Machine, more_bytes: float) -> Machine:
    """The machine with that much more GPU memory."""
    return machine.model_copy(
        update={
            "gpu": machine.gpu.model_copy(
                update={"memory_bytes": _grown(machine.gpu.memory_bytes, more_bytes)}
            )
        }
    )


def with_more_link(machine: Machine, more_bytes_per_s: float) -> Machine:
    """Return the machine with a link to the GPU faster by that much; pageable copies gain in
    proportion.
    """
    h2d = machine.link.h2d
    rate = _grown(h2d.bytes_per_s, more_bytes_per_s)
    factor = rate.value / h2d.bytes_per_s.value
    pageable = (
        None
        if h2d.pageable_bytes_per_s is None
        else _grown(h2d.pageable_bytes_per_s, h2d.pageable_bytes_per_s.effective * (factor - 1))
    )
    faster = h2d.model_copy(update={"bytes_per_s": rate, "pageable_bytes_per_s": pageable})
    return machine.model_copy(update={"link": machine.link.model_copy(update={"h2d": faster})})


def with_more_dram(machine: Machine, more_bytes_per_s: float) -> Machine:
    """The machine with host memory faster by that much."""
    rate = _grown(machine.cpu.memory_bytes_per_s, more_bytes_per_s)
    return machine.model_copy(
        update={"cpu": machine.cpu.model_copy(update={"memory_bytes_per_s": rate})}
    )


def _grown(quantity: Quantity, more: float) -> Quantity:
    """The quantity with that much more of its effective value."""
    return quantity.model_copy(update={"value": quantity.value * (1 + more / quantity.effective)})
