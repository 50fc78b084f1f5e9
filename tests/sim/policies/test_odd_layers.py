"""Layers without attention, a feed-forward, experts, or all of them: every policy runs them, and
what is not there costs nothing.
"""

import numpy as np
import pytest

from hwprofiles import InputError
from sim.costs.cost_model import CostModel
from sim.costs.memory import activation_bytes
from sim.model.model import Model
from sim.policies import POLICIES, Policy
from sim.routing import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.testing import check_policy
from sim.workload.batch import Batch, Feeding
from tests.sim.small import (
    DENSE_MODELS,
    FFNS,
    MIXERS,
    ODD_MODELS,
    layer_of,
    model_of,
    small_machine,
)

BATCH = Batch(prompt_tokens=20, output_tokens=4, batch_size=2)


def _scenario(model: Model, policy: Policy) -> Scenario:
    return Scenario(
        machine=small_machine(1e9),
        model=model,
        batch=BATCH,
        policy=policy,
        routing=uniform(),
        seed=1,
    )


def _tight(model: Model) -> float:
    """GPU memory for everything outside experts, two buffers, and six in ten experts."""
    layers = [layer.num_experts * layer.expert_bytes for layer in model.layers]
    working = activation_bytes(
        model, BATCH, Feeding(replicates_prompt=True)
    ) + BATCH.num_sequences * model.kv_bytes(BATCH.context_tokens)
    return (model.non_expert_bytes + working + 2 * model.expert_bytes + 0.6 * sum(layers)) / 0.95


@pytest.mark.parametrize("model", ODD_MODELS.values(), ids=ODD_MODELS)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_policy_runs_odd_layers(policy: Policy, model: Model) -> None:
    """The conformance kit holds where memory is short and where it is not."""
    for memory_bytes in (_tight(model), 1e9):
        check_policy(policy, model, small_machine(memory_bytes, overhead_ns=500), BATCH, seed=3)


@pytest.mark.parametrize("model", DENSE_MODELS.values(), ids=DENSE_MODELS)
def test_a_model_without_experts_is_refused(model: Model) -> None:
    """Whatever its layers have: no policy has anything to place."""
    for policy in POLICIES.values():
        with pytest.raises(
            InputError,
            match=f"^{model.name} is dense: it has no experts that a policy could place$",
        ):
            simulate(_scenario(model, policy))


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("ffn", FFNS)
def test_what_a_layer_lacks_costs_nothing(mixer: str, ffn: str) -> None:
    """Without anything before its feed-forward a layer spends no time on attention and keeps no KV."""
    model = model_of("one", layer_of(mixer, ffn))
    costs = CostModel(machine=small_machine(1e9, overhead_ns=500), model=model)
    price = costs.attention("gpu", 0, np.array([1, 8]), 1, np.array([9, 0]), np.array([10, 8]))
    assert (price.ns > 0).all() == (mixer != "none")
    attention, state = MIXERS[mixer]
    assert model.layer_kv_bytes(0, 0) == (0 if state is None else state.bytes)
    assert (model.kv_bytes(1000) > model.kv_bytes(500)) == (
        mixer in ("attention", "sparse", "compressed", "both")
    )
    assert (costs.attention_core("cpu", 0, 4, 4, 9, 10).ns > 0) == (attention is not None)


def test_attention_takes_no_time_where_there_is_none() -> None:
    """A run of experts alone spends its time elsewhere, as does one of the same layers under
    attention but for attention.
    """
    policy = POLICIES["all-on-gpu"]
    totals = []
    for mixer in ("none", "attention"):
        model = model_of(mixer, layer_of(mixer, "experts"))
        run = simulate(_scenario(model, policy))
        assert isinstance(run, Run)
        totals.append(run.metrics.end_to_end_s)
    assert 0 < totals[0] < totals[1]
