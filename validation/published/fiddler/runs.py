"""The simulator runs that stand for Fiddler's measurements."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hwprofiles import InputError, load_machine
from sim.costs.memory import Infeasible
from sim.model.library import load_model
from sim.model.model import Model
from sim.policies import find_policy, with_settings
from sim.routing import Routing
from sim.step.metrics import Metrics
from sim.step.simulate import Scenario, simulate
from sim.workload.batch import Batch

MACHINES: Mapping[str, str] = {"E1": "fiddler-e1", "E2": "fiddler-e2"}
"""The paper's two machines; its headlines are means over both."""
PLACES: Mapping[str, str] = {**MACHINES, "L4": "fiddler-l4"}
"""The paper's machines, and the other machine of version 1.

The repository has a baseline's times on the latter.
"""
POLICIES: Mapping[str, str] = {
    "Fiddler": "fiddler",
    "Fiddler v1": "fiddler-v1",
    "Random placement": "fiddler",
    "DeepSpeed-MII": "zero-streaming",
    "Mixtral-Offloading": "mixtral-offloading",
    "llama.cpp": "llama.cpp",
}
LLAMA_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "E1": {"num_gpu_layers": "8"},
    "E2": {"num_gpu_layers": "16"},
}
"""The paper's -ngl by machine.

llama.cpp stages one matrix of experts at a time, not a whole layer. The 5 % of memory that a policy
keeps free covers one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBench:
    """A model (by default Mixtral-8x7B), a routing and a seed, to run any system on any machine.

    The machines are the paper's.
    """

    routing: Routing
    seed: int
    # A lambda, because the function is defined below.
    shape: Model = field(default_factory=lambda: model())

    def run(
        self,
        environment: str,
        system: str,
        batch: Batch,
        settings: Mapping[str, str] | None = None,
        overrides: tuple[str, ...] = (),
    ) -> Metrics:
        """The metrics of one run. Raises InputError where the policy finds no placement."""
        policy = find_policy(POLICIES[system])
        if system == "llama.cpp":
            policy = with_settings(policy, LLAMA_SETTINGS[environment])
        policy = with_settings(policy, settings or {})
        machine = load_machine(PLACES[environment], overrides)
        found = simulate(
            Scenario(
                machine=machine,
                model=self.shape,
                batch=batch,
                policy=policy,
                routing=self.routing,
                seed=self.seed,
            )
        )
        if isinstance(found, Infeasible):
            raise InputError(
                f"{system} on {PLACES[environment]}: {found.reason} ({found.missing_bytes} bytes missing)"
            )
        return found.metrics


def model() -> Model:
    """The paper's model."""
    return load_model("mixtral-8x7b")


def quantity_of(metrics: Metrics, batch: Batch, quantity: str) -> float:
    """Return a published quantity of a run: a metric of that name, or one derived from metrics."""
    if quantity == "seconds_per_output_token":
        return metrics.end_to_end_s / batch.output_tokens
    if quantity == "hit_rate_percent":
        return 100 * metrics.expert_hit_rate
    return float(getattr(metrics, quantity))
