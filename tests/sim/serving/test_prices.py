"""Prices of steps against the step scale's own."""

import numpy as np
import pytest

from hwprofiles import InputError, load_machine
from sim.costs.cost_model import CostModel
from sim.costs.memory import Infeasible
from sim.model.library import load_model
from sim.model.model import Model, TensorClass
from sim.policies import find_policy
from sim.routing import load_routing
from sim.serving import Cluster, InstanceOptions, ServingSetting, StepPrices, prepare
from sim.serving.gpu_prices import gpu_prices, pooled_machine
from sim.serving.link import TransferRate
from sim.serving.policy_prices import ServedPolicy, prepare_policy
from sim.serving.prices import TICKS_PER_NS
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.sim.small import DENSE_MODELS, FFNS, MIXERS, layer_of, model_of, small_model

INSTANCE = InstanceOptions(max_step_tokens=512, max_sequences=64)


def _decode_ns(prices: StepPrices, sequences: int, context: int) -> float:
    seen = [sequences * part.seen(context) for part in prices.attention]
    return prices.step(sequences, sequences, seen, seen) / TICKS_PER_NS


def _prefill_ns(prices: StepPrices, first: int, end: int) -> float:
    kept, pairs = (
        [part.kept(first, end) for part in prices.attention],
        [part.pairs(first, end) for part in prices.attention],
    )
    return prices.step(end - first, 1, kept, pairs) / TICKS_PER_NS


def _cost_model_ns(costs: CostModel, tokens: int, sequences: int, first: int, end: int) -> float:
    """The step as the sum of the operations of the step scale."""
    total = float(costs.head("gpu", sequences).ns) + costs.step_overhead_ns()
    for layer in range(costs.model.num_layers):
        total += costs.layer_overhead_ns() + float(
            costs.attention("gpu", layer, tokens, sequences, first, end).ns
        )
        for which in (TensorClass.ROUTER, TensorClass.DENSE_FFN, TensorClass.SHARED_EXPERT):
            if costs.model.layers[layer].params.get(which):
                total += float(costs.weights("gpu", layer, which, tokens).ns)
    return total


@pytest.mark.parametrize("window_tokens", [None, 48])
@pytest.mark.parametrize("captures_graphs", [True, False])
def test_a_dense_step_costs_what_its_operations_cost(
    window_tokens: int | None, captures_graphs: bool
) -> None:
    """Decoding and prefill of a dense model on one GPU: the sum of the step scale's prices, to
    rounding.
    """
    model = small_model(dense_layers=(0, 1, 2), window_tokens=window_tokens)
    instance = InstanceOptions(
        max_step_tokens=512, max_sequences=64, captures_graphs=captures_graphs
    )
    machine = load_machine("h100")
    prices, pooled = gpu_prices(machine, model, instance), pooled_machine(machine, instance)
    costs = CostModel(machine=pooled, model=model, is_fused=True, captures_graphs=captures_graphs)
    for sequences, context in ((1, 1), (7, 40), (64, 3000)):
        assert _decode_ns(prices, sequences, context) == pytest.approx(
            _cost_model_ns(costs, sequences, sequences, context - 1, context), abs=20
        )
    for first, end in ((0, 1), (0, 512), (100, 300), (5000, 5512)):
        assert _prefill_ns(prices, first, end) == pytest.approx(
            _cost_model_ns(costs, end - first, 1, first, end), abs=20
        )


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("ffn", [name for name in FFNS if "experts" not in name])
def test_odd_layers_cost_what_their_operations_cost(mixer: str, ffn: str) -> None:
    """A decode step of layers with any attention, a short convolution or nothing: within 2 % of the
    step scale's own prices.
    """
    model = model_of("odd", *[layer_of(mixer, ffn)] * 3)
    machine = load_machine("h100")
    prices, pooled = gpu_prices(machine, model, INSTANCE), pooled_machine(machine, INSTANCE)
    costs = CostModel(machine=pooled, model=model, is_fused=True, captures_graphs=True)
    for sequences, context in ((1, 1), (7, 40), (64, 3000)):
        wanted = _cost_model_ns(costs, sequences, sequences, context - 1, context)
        assert _decode_ns(prices, sequences, context) == pytest.approx(wanted, rel=0.02, abs=20)


def test_a_model_without_attention_is_served_or_refused() -> None:
    """Feed-forwards alone have blocks that take no bytes; recurrent states cannot be reused by
    prefix.
    """
    with pytest.raises(
        InputError, match=r"states-alone has layers with a recurrent state, .* set instance"
    ):
        ServingSetting(
            machine=load_machine("h100"), model=DENSE_MODELS["states-alone"], instance=INSTANCE
        )
    instance = InstanceOptions(max_step_tokens=512, max_sequences=64, has_prefix_cache=False)
    for model in DENSE_MODELS.values():
        cluster = prepare(
            ServingSetting(machine=load_machine("h100"), model=model, instance=instance)
        )
        assert isinstance(cluster, Cluster) and cluster.num_blocks > 0


def test_gpus_pool_their_rates() -> None:
    """Eight GPUs take an eighth of the time, kernels aside, and the time of the all-reduces where
    that is stated.
    """
    model = load_model("qwen3-30b-a3b")
    machine = load_machine("h100", ["gpu.kernel_ns=0"])
    one = gpu_prices(machine, model, INSTANCE)
    eight = gpu_prices(
        machine, model, InstanceOptions(max_step_tokens=512, max_sequences=64, num_gpus=8)
    )
    assert _decode_ns(eight, 8, 1000) == pytest.approx(_decode_ns(one, 8, 1000) / 8, rel=2e-3)
    link = TransferRate(latency_ns=1000, bytes_per_s=1e9)
    linked = gpu_prices(
        machine,
        model,
        InstanceOptions(max_step_tokens=512, max_sequences=64, num_gpus=8, all_reduce=link),
    )
    added = 2 * model.num_layers * (1000 + 8 * model.hidden * 2)
    assert _decode_ns(linked, 8, 1000) - _decode_ns(eight, 8, 1000) == pytest.approx(
        added, rel=1e-6
    )


def test_what_does_not_fit_says_by_how_much() -> None:
    """A model larger than the GPUs is infeasible; more instances than GPUs are an error."""
    setting = ServingSetting(
        machine=load_machine("h100"), model=load_model("mixtral-8x22b"), instance=INSTANCE
    )
    found = prepare(setting)
    assert (
        isinstance(found, Infeasible)
        and found.missing_bytes > 0
        and "leaves no room for KV on 1 GPU of h100" in found.reason
    )
    with pytest.raises(InputError, match="at most the 1 GPUs of h100, got 2"):
        prepare(
            ServingSetting(
                machine=load_machine("h100"),
                model=load_model("mixtral-8x22b"),
                instance=INSTANCE,
                num_instances=2,
            )
        )


def _served(policy: str, model: Model, kv_tokens: int = 40_000) -> Cluster | Infeasible:
    instance = InstanceOptions(max_step_tokens=512, max_sequences=64, kv_tokens=kv_tokens)
    setting = ServingSetting(
        machine=load_machine("desktop-rtx-4090-ddr5"), model=model, instance=instance
    )
    return prepare_policy(
        setting, ServedPolicy(policy=find_policy(policy), routing=load_routing("uniform", model))
    )


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["fiddler", "ktransformers"])
def test_a_step_under_a_policy_costs_what_it_takes(policy: str) -> None:
    """Decode steps of a policy priced from the table: within 5 % of simulating a batch of that size
    at that context.
    """
    model = load_model("mixtral-8x7b")
    cluster = _served(policy, model, kv_tokens=16 * 1024)
    assert isinstance(cluster, Cluster)
    for sequences, context in ((1, 1000), (16, 1000)):
        batch = Batch(prompt_tokens=context, output_tokens=24, batch_size=sequences)
        run = simulate(
            Scenario(
                machine=load_machine("desktop-rtx-4090-ddr5"),
                model=model,
                batch=batch,
                policy=find_policy(policy),
                routing=load_routing("uniform", model),
            )
        )
        assert isinstance(run, Run)
        assert _decode_ns(cluster.prices, sequences, context + 12) == pytest.approx(
            run.metrics.tpot_s * 1e9, rel=0.05
        )


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("lru", "holds other experts"),
        ("fmoe", "holds other experts"),
        ("llama.cpp", "keeps layers off the GPU"),
    ],
)
def test_policies_that_do_not_stand_still_are_refused(policy: str, message: str) -> None:
    """A table of steps cannot stand for a policy whose steps depend on those before."""
    with pytest.raises(InputError, match=message):
        _served(policy, load_model("mixtral-8x7b"))


def test_prices_grow_with_the_batch() -> None:
    """More tokens never take less time, with experts evenly selected."""
    prices = gpu_prices(load_machine("h100"), load_model("qwen3-30b-a3b"), INSTANCE)
    assert (np.diff(np.array(prices.base, dtype=float)) >= 0).all()
