"""A roofline with overhead, and how the GPU's kernels are run.

On the CPU an operation takes the longer of bytes / memory rate and FLOPs / compute rate, plus a
call. On the GPU the longer of these hides most of the shorter (``serial_fraction`` says what
shows), and each kernel adds ``kernel_ns``. Kernels that are not replayed as a captured graph are
launched one by one. The launches run ahead of the stream, and show only when they take longer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hwprofiles import InputError, Machine, Provenance, Quantity
from hwprofiles.units import NS_PER_S
from sim.costs.price import Sizes

Device = Literal["gpu", "cpu"]

EAGER_KERNELS: Mapping[str, int] = {
    **{"attention": 10, "gate": 4, "dense_ffn": 4, "shared_expert": 5, "expert": 5, "head": 2},
    **{"attention_input": 6, "attention_core": 2, "attention_output": 2},
}
"""GPU kernels an unfused decoder launches per operation: assumed, counted from the eager Mixtral
block of transformers.
"""

FUSED_KERNELS: Mapping[str, int] = {
    **{"attention": 7, "gate": 2, "dense_ffn": 4, "shared_expert": 3, "expert": 7, "head": 2},
    **{"attention_input": 4, "attention_core": 2, "attention_output": 1},
}
"""GPU kernels per operation of a decoder with fused kernels; "expert" counts those of one call for
all experts of a layer.

Assumed, counted from vLLM 0.24. Attention: norm, one product for queries, keys and values, their
norms and rotation, the cache's write, attention and its reduction, the output. Gate: norm, router.
Dense feed-forward: norm, up and gate together, activation, down; shared experts: the last three.
Experts: top-k, sorting by expert (2), the three of a feed-forward, the weighted sum.
"""

FLOPS_PER_WEIGHT = 2
"""FLOPs for each weight and token: a multiply and an add."""

FLOPS_PER_STATE_ELEMENT = 7
"""FLOPs of the gated delta rule for each element of the state and each token.

Decay takes 1, what the key recalls 2, its correction 2, what the query reads 2. Source: arXiv
2412.06464, section 3.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """A machine's rates, with the GPU's kernels run in one way.

    ``is_fused``: the GPU runs fused kernels, the experts of a layer in one call.
    ``captures_graphs``: the kernels are replayed as a graph, so that launches take no time.
    ``is_in_group``: an expert is priced as one of several in a call, without what the call takes.
    """

    machine: Machine
    is_fused: bool = False
    captures_graphs: bool = False
    is_in_group: bool = False

    def roofline_ns(
        self, device: Device, num_bytes: Sizes, flops: Sizes, operation: str, dtype: str
    ) -> Sizes:
        """Return the ns of an operation that reads ``num_bytes``, as ``as_read`` counts them, and
        computes ``flops`` in the type of weights of that format.

        ``operation`` is a key of FUSED_KERNELS.
        """
        memory, compute = self.device_rates(device, dtype)
        reading = num_bytes / memory.effective * NS_PER_S
        computing = flops / compute.effective * NS_PER_S
        if device == "gpu":
            # Reading hides computing, but not all of it: see docs/explanation/grouped-experts.md.
            serial = self.machine.gpu.serial_fraction.effective
            work = np.maximum(reading, computing) + serial * np.minimum(reading, computing)
            return np.asarray(
                np.maximum(work + self.kernels_ns(operation), self.launches_ns(operation))
            )
        call_ns = 0.0 if self.is_in_group else self.machine.cpu.call_overhead_ns.effective
        return np.asarray(np.maximum(reading, computing) + call_ns)

    def num_kernels(self, operation: str) -> int:
        """Return the number of GPU kernels of an operation, a key of FUSED_KERNELS; 0 for an expert
        within a group.
        """
        if operation == "expert" and self.is_in_group:
            return 0
        return (FUSED_KERNELS if self.is_fused else EAGER_KERNELS)[operation]

    def kernels_ns(self, operation: str) -> float:
        """Return the ns that the kernels of an operation take on the GPU beside their work."""
        return self.num_kernels(operation) * self.machine.gpu.kernel_ns.effective

    def launches_ns(self, operation: str) -> float:
        """Return the host's ns for the launches of an operation; 0 where a graph is replayed."""
        return (
            0.0
            if self.captures_graphs
            else self.num_kernels(operation) * self.machine.gpu.launch_overhead_ns.effective
        )

    def as_read(self, device: Device, weight_bytes: float, num_weights: int, dtype: str) -> float:
        """Bytes that take as long to read at the memory rate as those weights do."""
        gpu = self.machine.gpu
        # Weights of fewer than 8 bits are unpacked as they are read, which on a GPU falls short of
        # its memory rate except for those that its units multiply as they are
        # (docs/explanation/grouped-experts.md).
        is_packed = weight_bytes < num_weights and dtype not in gpu.flops_per_s
        return (
            weight_bytes / gpu.packed_rate_fraction.effective
            if device == "gpu" and is_packed
            else weight_bytes
        )

    def device_rates(self, device: Device, dtype: str) -> tuple[Quantity, Quantity]:
        """Return the memory rate and the compute rate of a device for weights of that format."""
        part = self.machine.gpu if device == "gpu" else self.machine.cpu
        return part.memory_bytes_per_s, part.flops_per_s[compute_type(part.flops_per_s, dtype)]

    def rates(self, device: Device, dtype: str) -> tuple[Provenance, ...]:
        """Return the sources of all that ``roofline_ns`` reads for that device and format."""
        used = [*self.device_rates(device, dtype)]
        gpu = self.machine.gpu
        if device == "cpu":
            used.append(self.machine.cpu.call_overhead_ns)
        else:
            used += [gpu.kernel_ns, gpu.serial_fraction, gpu.packed_rate_fraction]
        if device == "gpu" and not self.captures_graphs:
            used.append(gpu.launch_overhead_ns)
        return tuple(quantity.provenance for quantity in used)


def compute_type(rates: Mapping[str, Quantity], dtype: str) -> str:
    """Return the type in which weights of that format are computed: their own where the device has
    it, else bf16.

    Raises InputError for a device that states neither.
    """
    if dtype not in rates and "bf16" not in rates:
        raise InputError(
            f"flops_per_s must state bf16, which {dtype} weights run at; it has {', '.join(rates)}"
        )
    return dtype if dtype in rates else "bf16"
