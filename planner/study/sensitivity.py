"""Which number of the machine matters most: each main number a fifth less and a fifth more, planned
anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hwprofiles import load_machine
from planner.search.plan import Setting
from planner.study.axes import with_override
from planner.study.machine_paths import machine_values
from sim.costs.roofline import compute_type
from sim.model.model import TensorClass

STEP_FRACTION = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """One number of the machine: its value in the base setting, and the settings with it smaller
    and larger.
    """

    path: str
    base_value: float
    low: Setting
    high: Setting


def variations(base: Setting) -> Iterator[Variation]:
    """Yield the main numbers: the link to the GPU, GPU memory and its rate, DRAM's rate, compute
    rates.

    The compute rates are those for the format of the experts.
    """
    machine = load_machine(base.machine, base.machine_overrides)
    model = base.loaded_model()
    dtype = model.dtype(TensorClass.EXPERT)
    values = machine_values(machine)
    # Compute rates are those of the format that experts are stored in, which prices them.
    for path in (
        "link.h2d.bytes_per_s",
        "gpu.memory_bytes",
        "gpu.memory_bytes_per_s",
        f"gpu.flops_per_s.{compute_type(machine.gpu.flops_per_s, dtype)}",
        "cpu.memory_bytes_per_s",
        f"cpu.flops_per_s.{compute_type(machine.cpu.flops_per_s, dtype)}",
    ):
        value = values[path]
        low, high = (
            with_override(base, path, value * factor)
            for factor in (1 - STEP_FRACTION, 1 + STEP_FRACTION)
        )
        yield Variation(path=path, base_value=value, low=low, high=high)
