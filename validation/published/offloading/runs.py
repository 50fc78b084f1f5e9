"""The runs that stand for the four papers' measurements."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hwprofiles import InputError, load_machine
from sim.costs.memory import Infeasible
from sim.model.library import load_model
from sim.policies import Policy, find_policy, with_settings
from sim.routing import load_routing
from sim.step.metrics import Metrics
from sim.step.simulate import Scenario, simulate
from sim.workload.batch import Batch

MACHINES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "S1": ("Tesla T4 + Xeon E5-2690 v4 + 12x16GB DDR4-2400", ()),
    "S2": (
        "L4 + Xeon Gold 6230 + 6x32GB DDR4-2933",
        ("cpu.memory_bytes_per_s=100e9",),
    ),
    "RTX A5000": ("RTX A5000 + EPYC 7302 + 8x32GB DDR4-3200", ()),
    "RTX 4090": ("desktop-rtx-4090-ddr5", ()),
    "A100 80 GB": ("a100-80", ()),
    "RTX 3080 Laptop": ("RTX 3080 Ti Laptop + Core i9-12900K + 2x32GB DDR5-4800", ()),
    "RTX 3060": (
        "desktop-rtx-3060-ddr4",
        ("link.h2d.bytes_per_s=12.1e9", "link.d2h.bytes_per_s=12.1e9"),
    ),
    "Tesla T4": ("Tesla T4 + Xeon E5-2690 v4 + 8x16GB DDR4-2400", ()),
}
"""The machine of each environment, and its overrides.

The papers name no hosts except S1 and S2 (24 cores as a cloud counts them, 192 GB), and the 100
GB/s of S2's memory. Mixtral-Offloading's RTX 3060 is on PCIe 3 (its section 4.3), at the rate of
Fiddler's PCIe 3 machine.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadingRun:
    """One run: machine, model, policy and batch; ``slots`` sets the resident experts of each
    layer.
    """

    environment: str
    model: str
    policy: Policy
    batch: Batch
    quantization: str | None = None
    slots: int | None = None
    layer_overhead_ns: float = 0.0

    def run(self, seed: int) -> Metrics:
        """Return the metrics of the run. Raises InputError if nothing fits."""
        name, overrides = MACHINES[self.environment]
        if self.layer_overhead_ns:
            overrides = (*overrides, f"host.layer_overhead_ns={self.layer_overhead_ns}")
        model = load_model(self.model, self.quantization or "16bit")
        found = simulate(
            Scenario(
                machine=load_machine(name, overrides),
                model=model,
                batch=self.batch,
                policy=self.policy,
                routing=load_routing(None, model),
                seed=seed,
                slots_per_layer=self.slots,
            )
        )
        if isinstance(found, Infeasible):
            raise InputError(f"{self.policy.name} on {name}: {found.reason}")
        return found.metrics


def lightning(micro_batch: int) -> Policy:
    """Return MoE-Lightning with that micro-batch, attention on the CPU, and experts on the GPU."""
    policy = with_settings(find_policy("moe-lightning"), {"kv_layers": "0", "ffn_on_gpu": "true"})
    feeding = replace(
        policy.feeding,
        micro_batch_sequences=micro_batch,
        prefill_micro_batch_sequences=micro_batch,
    )
    return replace(policy, feeding=feeding)
