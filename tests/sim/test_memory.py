"""What GPU memory has to hold, counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from hwprofiles import Quantity
from sim.memory import Infeasible, MemoryRule, Residency, activation_bytes, fixed_items, usable_bytes, weight_bytes
from sim.model import Model
from sim.model_library import load_model
from sim.policies import find_policy
from sim.routing import uniform
from sim.simulate import Run, Scenario, simulate
from sim.workload import Batch, Feeding
from tests.sim.small import HIDDEN, MODELS, VOCAB, WIDE, quantity, small_machine, small_model

FIDDLERS_RULE = MemoryRule(budgets_kv=False, budgets_activations=False, counts_rotary_tables=True)
BATCH = Batch(prompt_tokens=10, output_tokens=6, batch_size=2, beams=3)


def _items(model: Model, rule: MemoryRule, **changes: object) -> dict[str, int]:
    arguments: dict[str, object] = {"has_head": True, "staging_bytes": 77} | changes
    dense = arguments.pop("dense", np.ones(model.num_layers, bool))
    return dict(fixed_items(small_machine(1e9), model, BATCH, Feeding(), rule, dense, **arguments))  # type: ignore[arg-type]


def test_the_items_by_hand() -> None:
    """Reserve, weights outside experts, KV of six sequences of 16 tokens, working memory, buffers."""
    model = small_model()
    items = _items(model, MemoryRule())
    assert items["context and fragmentation"] == 50_000_000
    assert items["weights outside experts"] == model.non_expert_bytes
    assert items["KV cache"] == 6 * 3 * 16 * 2 * HIDDEN * 2
    assert items["activations"] == 20 * (6 * HIDDEN + 2 * 2 * WIDE) * 2 + 4 * 6 * VOCAB
    assert items["staging buffers"] == 77


def test_a_rule_leaves_out_what_it_does_not_budget() -> None:
    """Fiddler's rule: no KV and no activations, but cosines and sines of 16 tokens for heads of dimension 16."""
    items = _items(small_model(), FIDDLERS_RULE)
    assert "KV cache" not in items and "activations" not in items
    assert items["rotary tables"] == 16 * 16 * 2 * 2


def test_the_released_fiddler_holds_tables_for_all_of_mixtrals_context() -> None:
    """0.537 GB: 32,768 positions of 128 dimensions in 32 layers, part of the 4.10 GB that its 56 and 125 experts follow from."""
    items = _items(load_model("mixtral-8x7b"), FIDDLERS_RULE)
    assert items["rotary tables"] == 32 * 32_768 * 128 * 2 * 2 == 536_870_912


LONG_MODELS = ["deepseek-v2-lite", "llama-4-scout", "mixtral-8x22b", "mixtral-8x7b", "phi-3.5-moe", "qwen3-next-80b-a3b"]


@pytest.mark.parametrize("name", LONG_MODELS)
@pytest.mark.parametrize("max_context_tokens", [65_536, 1_048_576, 10_485_760])
def test_a_long_context_costs_what_the_run_uses_of_it(name: str, max_context_tokens: int) -> None:
    """Tables of a model of up to ten million tokens are those of the run's 16, under 1 MB."""
    items = _items(replace(load_model(name), max_context_tokens=max_context_tokens), FIDDLERS_RULE)
    assert 0 < items["rotary tables"] <= 16 * 576 * 2 * 2


@pytest.mark.parametrize("policy", ["fiddler", "fiddler-v1"])
def test_a_million_token_model_runs_under_fiddler(policy: str) -> None:
    """Its memory rule leaves room for experts, as many as for the same model with a short context."""
    short = small_model(num_layers=4)
    long = replace(short, max_context_tokens=10_485_760)
    runs = [simulate(_scenario(policy, 1_000_000, model)) for model in (short, long)]
    held = [run.metrics.num_resident_experts for run in runs if isinstance(run, Run)]
    assert len(held) == 2 and held[0] == held[1] > 0


def test_only_what_lies_on_the_gpu_counts() -> None:
    """Weights and KV of the marked layers; KV apart where it is said apart."""
    model = MODELS["dense-first-and-shared"]
    last = np.array([False, False, False, True])
    items = _items(model, MemoryRule(), dense=last, has_head=False)
    assert items["weights outside experts"] == model.layers[3].dense_bytes
    assert items["KV cache"] == 6 * 16 * 2 * HIDDEN * 2
    everywhere = _items(model, MemoryRule(), dense=last, has_head=False, kv=np.ones(4, bool))
    assert everywhere["KV cache"] == 4 * items["KV cache"]


def test_a_window_bounds_its_layers_kv() -> None:
    """Layers 0 and 2 keep 8 of 16 tokens, layer 1 all of them."""
    items = _items(MODELS["windows-and-uneven-bytes"], MemoryRule())
    assert items["KV cache"] == 6 * (8 + 16 + 8) * 2 * HIDDEN * 2


def test_weights_of_a_residency() -> None:
    """Experts at the size of their own layer, dense parts, and embedding with head."""
    model = MODELS["windows-and-uneven-bytes"]
    experts = np.zeros((3, 8), bool)
    experts[0, :2] = experts[1, 3] = True
    size = 2 * 3 * HIDDEN * WIDE
    residency = Residency(experts=experts, dense=np.array([True, False, False]), has_head=True)
    assert model.layers[1].expert_bytes == size * 9 // 8
    assert weight_bytes(model, residency) == 2 * size + size * 9 // 8 + model.layers[0].dense_bytes + sum(model.top_bytes.values())
    assert residency.num_experts == 3


def test_working_memory_is_that_of_the_largest_pass() -> None:
    """Chunks shrink it, replicated prompts enlarge it, a dense block wider than the top-k experts counts."""
    model, long = small_model(), Batch(prompt_tokens=1000, output_tokens=2, beams=2)
    whole, chunked, replicated = (
        activation_bytes(model, long, feeding)
        for feeding in (Feeding(), Feeding(prefill_chunk_tokens=100), Feeding(replicates_prompt=True))
    )
    logits = 4 * 2 * VOCAB
    assert chunked - logits == (whole - logits) // 10 and replicated - logits == 2 * (whole - logits)
    wide = activation_bytes(small_model(dense_layers=(0,)), long, Feeding())
    assert wide - whole == 1000 * 2 * (4 * WIDE - 2 * WIDE) * 2


@pytest.mark.parametrize("size", [1, 999_999_999, 25_757_220_864])
def test_a_fraction_of_odd_sizes_is_whole(size: int) -> None:
    """The usable part is rounded down to bytes, the reserve takes the rest."""
    machine = small_machine(size)
    assert usable_bytes(machine, MemoryRule()) == int(size * 0.95)


def test_streaming_keeps_the_kv_cache_on_the_gpu() -> None:
    """ZeRO-3 streaming moves weights; attention runs on the GPU over a KV cache that stays there."""
    run = simulate(_scenario("zero-streaming", 1e9))
    assert isinstance(run, Run)
    assert run.memory_items["KV cache"] == 6 * 3 * 16 * 2 * HIDDEN * 2 and run.memory_items["resident experts"] == 0


def test_streaming_buffers_hold_embedding_and_head_in_turn() -> None:
    """A vocabulary larger than any layer is what bounds streaming: peak and missing bytes know it."""
    model = MODELS["large-vocabulary"]
    top = sum(model.top_bytes.values())
    assert top > max(layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in model.layers)
    run = simulate(_scenario("zero-streaming", 1e9, model))
    assert isinstance(run, Run) and run.metrics.peak_gpu_memory_bytes > top
    assert isinstance(simulate(_scenario("zero-streaming", run.metrics.peak_gpu_memory_bytes * 0.9, model)), Infeasible)


def test_fiddlers_rule_may_set_aside_too_little() -> None:
    """Its run is simulated, and a warning says by how much it would exceed the GPU."""
    batch = Batch(prompt_tokens=600, output_tokens=2, beams=4)
    run = simulate(_scenario("fiddler", 8_000_000, batch=batch, model=small_model(num_layers=12)))
    assert isinstance(run, Run)
    over = run.metrics.peak_gpu_memory_bytes - 8_000_000
    assert over > 0 and f"would exceed GPU memory by {over} bytes" in run.warnings[0]


def test_host_memory_bounds_what_stays_behind() -> None:
    """A host that cannot hold what the GPU does not: Infeasible, by the bytes that are missing there."""
    model = small_model()
    cpu = {
        "name": "cpu",
        "cores": 8,
        "memory_bytes": quantity(model.total_bytes - 1000),
        "memory_bytes_per_s": quantity(10e9),
        "flops_per_s": {"bf16": quantity(0.1e12)},
        "call_overhead_ns": quantity(0),
    }
    scenario = _scenario("zero-streaming", 1e9)
    found = simulate(Scenario(machine=small_machine(cpu=cpu), model=model, batch=BATCH, policy=scenario.policy, routing=uniform()))
    assert isinstance(found, Infeasible) and found.missing_bytes == 1000 and found.reason.startswith("host memory would hold")


NEED_COPIES = {"lru", "hybrimoe", "mixtral-next-gate", "kt-dynamic"}


@pytest.mark.parametrize("policy", ["on-demand", "mixtral-offloading", *sorted(NEED_COPIES)])
def test_what_leaves_the_gpu_has_a_copy_in_host_memory(policy: str) -> None:
    """Host memory for all experts but a byte, half of them on the GPU: too little where one is overwritten, enough where all stay."""
    model = small_model()
    experts = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
    cpu = small_machine().cpu.model_copy(update={"memory_bytes": Quantity.model_validate(quantity(experts - 1))})
    machine = small_machine().model_copy(update={"cpu": cpu})
    row = find_policy(policy)
    found = simulate(Scenario(machine=machine, model=model, batch=BATCH, policy=row, routing=uniform(), slots_per_layer=4))
    if policy in NEED_COPIES:
        assert isinstance(found, Infeasible) and found.missing_bytes == 1 and "copies of experts on the GPU included" in found.reason
    else:
        assert isinstance(found, Run)


def _scenario(policy: str, memory_bytes: float, model: Model | None = None, batch: Batch = BATCH) -> Scenario:
    return Scenario(
        machine=small_machine(memory_bytes), model=model or small_model(), batch=batch, policy=find_policy(policy), routing=uniform()
    )
