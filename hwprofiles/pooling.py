"""Several equal GPUs taken as one, as ideal tensor parallelism would make them."""

from hwprofiles.machine import Machine
from hwprofiles.quantity import Kind, Quantity


def pooled(machine: Machine) -> Machine:
    """Return the machine with one GPU that has the memory, memory rate and compute of all its GPUs.

    The link is still that of one GPU. Every card holds an equal share of each weight and works at
    the same time. The cost of exchanging the shares is left out. A ranking of policies stays right
    where this cost is the same for all of them. The pooled quantities are assumed; curves of one
    card's kernels are left out. A machine with one GPU or none is returned as
    it is.
    """
    count = machine.gpu.count
    if count <= 1:
        return machine

    def times(quantity: Quantity) -> Quantity:
        """Return the quantity of all cards together, in its own unit."""
        source = f"{count} cards pooled, ideal tensor parallelism: {quantity.source}"
        return quantity.model_copy(
            update={"value": quantity.value * count, "kind": Kind.ASSUMED, "source": source}
        )

    # Launch and kernel times stay those of one card: all cards launch at the same time.
    gpu = machine.gpu.model_copy(
        update={
            "name": f"{count} x {machine.gpu.name}, pooled",
            "count": 1,
            "memory_bytes": times(machine.gpu.memory_bytes),
            "memory_bytes_per_s": times(machine.gpu.memory_bytes_per_s),
            "flops_per_s": {name: times(rate) for name, rate in machine.gpu.flops_per_s.items()},
        }
    )
    # A kernel over an equal share of each weight was not measured.
    curves = tuple(curve for curve in machine.curves if curve.device != "gpu")
    return machine.model_copy(update={"gpu": gpu, "curves": curves})
