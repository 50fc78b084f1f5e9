"""Both engines on what ships: every named policy on every model family, the same timeline to the
nanosecond.
"""

from dataclasses import replace

import pytest

from hwprofiles import Machine, load_machine
from sim.model.library import load_model, model_names
from sim.policies import POLICIES
from sim.routing import load_routing
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch

ROUTED = [model for model in map(load_model, model_names()) if not model.is_dense]
LARGEST_FIRST = sorted(ROUTED, key=lambda model: -len(model.layers) * model.num_experts)
FAMILIES = sorted({model.family: model.name for model in LARGEST_FIRST}.values())
"""The model of each family with the fewest experts in all: its layers are those of the others."""

# The prompts' four tokens already meet at experts; more of them make the reference take longer.
BATCH = Batch(prompt_tokens=2, output_tokens=3, batch_size=2)


@pytest.fixture(scope="module")
def machine() -> Machine:
    """A large desktop card and a host that holds any model."""
    machine = load_machine("server-12ch-ddr5-rtx-5090")
    return machine.model_copy(update={"cpu": machine.cpu.model_copy(update={"memory_bytes": None})})


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("model_name", FAMILIES)
def test_engines_agree(model_name: str, policy: str, machine: Machine) -> None:
    """The same digest, or infeasible for both."""
    model = load_model(model_name)
    scenario = Scenario(
        machine=machine,
        model=model,
        batch=BATCH,
        policy=POLICIES[policy],
        routing=load_routing(None, model),
    )
    fast, reference = (simulate(replace(scenario, engine=name)) for name in ("fast", "reference"))
    if isinstance(fast, Run):
        assert isinstance(reference, Run) and fast.timeline.digest == reference.timeline.digest
        assert fast.metrics == reference.metrics
    else:
        assert fast == reference
