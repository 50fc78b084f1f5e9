"""What GPU memory has to hold, counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import Quantity
from sim.costs.compute_buffers import compute_buffer_bytes
from sim.costs.memory import (
    CUDA_CONTEXT_BYTES,
    DenseShare,
    Infeasible,
    MemoryRule,
    Residency,
    activation_bytes,
    fixed_items,
    usable_bytes,
    weight_bytes,
    working_bytes,
)
from sim.model.library import load_model
from sim.model.model import Model
from sim.policies import find_policy
from sim.routing import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch, Feeding
from tests.sim.small import HIDDEN, MODELS, VOCAB, WIDE, quantity, small_machine, small_model

FIDDLERS_RULE = MemoryRule(budgets_kv=False, budgets_activations=False, counts_rotary_tables=True)
BATCH = Batch(prompt_tokens=10, output_tokens=6, batch_size=2, beams=3)


def _items(model: Model, rule: MemoryRule, **changes: object) -> dict[str, int]:
    arguments: dict[str, object] = {"has_head": True, "staging_bytes": 77} | changes
    held = DenseShare(**{"dense": np.ones(model.num_layers, bool), **arguments})  # type: ignore[arg-type]
    return dict(fixed_items(small_machine(1e9), model, BATCH, Feeding(), rule, held))


def test_the_items_by_hand() -> None:
    """Context, weights outside experts but for the embedding, KV of six sequences of 16 tokens,
    logits of 96 tokens, buffers.
    """
    model = small_model()
    items = _items(model, MemoryRule())
    assert items["CUDA context"] == 0 and "context and fragmentation" not in items
    assert items["weights outside experts"] == model.non_expert_bytes - 2 * VOCAB * HIDDEN
    assert items["KV cache"] == 6 * 3 * 16 * 2 * HIDDEN * 2
    assert items["compute buffers"] == 6 * 16 * (2 * HIDDEN + VOCAB) * 4
    assert items["staging buffers"] == 77


def test_the_items_of_an_eager_system_by_hand() -> None:
    """A share of the card is kept free; the embedding lies on the GPU; the tokens of the largest
    pass are worked on at once.
    """
    model = small_model()
    items = _items(model, MemoryRule(usable_fraction=0.95, has_context_apart=False, is_eager=True))
    assert items["context and fragmentation"] == 50_000_000 and "CUDA context" not in items
    assert items["weights outside experts"] == model.non_expert_bytes
    assert items["activations"] == 20 * (6 * HIDDEN + 2 * 2 * WIDE) * 2 + 4 * 6 * VOCAB


def test_a_context_is_the_machine_files_or_the_largest_published() -> None:
    """What a machine states counts; else 555 MiB."""
    machine = small_machine(1e9)
    assert usable_bytes(machine, MemoryRule()) == 1e9
    silent = machine.model_copy(
        update={"gpu": machine.gpu.model_copy(update={"context_bytes": None})}
    )
    assert usable_bytes(silent, MemoryRule()) == 1e9 - CUDA_CONTEXT_BYTES == 1e9 - 555 * 2**20
    assert usable_bytes(silent, MemoryRule(usable_fraction=0.95, has_context_apart=False)) == 0.95e9


def test_a_latent_cache_is_expanded_for_a_prompt() -> None:
    """Keys and values of all heads in 16 bit, by pieces of 512 MiB from 32 bit; a lone token reads
    the latent itself.
    """
    plain = load_model("deepseek-v3")
    context, tokens = 32_768, 512
    expanded = 128 * (128 + 64 + 128)
    expected = (
        tokens * (2 * 7168 + expanded) * 4
        + tokens * context * 6
        + context * expanded * 2
        + 512 * 2**20
    )
    assert compute_buffer_bytes(plain, tokens, context, has_head=True) == expected
    assert compute_buffer_bytes(plain, 1, context, has_head=True) < 2**20


def test_a_micro_batch_bounds_compute_buffers() -> None:
    """A prompt of any length takes those of 512 tokens, the hidden states of its other tokens
    beside; a feeding's chunk goes first.
    """
    model, long = small_model(), Batch(prompt_tokens=2000, output_tokens=2)
    rule = MemoryRule()
    assert (
        working_bytes(model, long, Feeding(), rule)
        == compute_buffer_bytes(model, 512, 2002, has_head=True) + 1488 * HIDDEN * 2
    )
    chunked = working_bytes(model, long, Feeding(prefill_chunk_tokens=100), rule)
    assert chunked == compute_buffer_bytes(model, 100, 2002, has_head=True)
    larger = working_bytes(model, long, Feeding(), MemoryRule(micro_batch_tokens=4096))
    assert larger == compute_buffer_bytes(model, 2002, 2002, has_head=True)


def test_the_released_fiddler_holds_tables_for_all_of_mixtrals_context() -> None:
    """0.537 GB: 32,768 positions of 128 dimensions in 32 layers, part of the 4.10 GB that its 56
    and 125 experts follow from.
    """
    items = _items(load_model("mixtral-8x7b"), FIDDLERS_RULE)
    assert items["rotary tables"] == 32 * 32_768 * 128 * 2 * 2 == 536_870_912


LONG_MODELS = [
    "deepseek-v2-lite",
    "llama-4-scout",
    "mixtral-8x22b",
    "mixtral-8x7b",
    "phi-3.5-moe",
    "qwen3-next-80b-a3b",
]


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


def test_working_memory_is_that_of_the_largest_pass() -> None:
    """Of an eager system: chunks shrink it, replicated prompts enlarge it, a dense block wider than
    the top-k experts counts.
    """
    model, long = small_model(), Batch(prompt_tokens=1000, output_tokens=2, beams=2)
    whole, chunked, replicated = (
        activation_bytes(model, long, feeding)
        for feeding in (
            Feeding(),
            Feeding(prefill_chunk_tokens=100),
            Feeding(replicates_prompt=True),
        )
    )
    logits = 4 * 2 * VOCAB
    assert chunked - logits == (whole - logits) // 10 and replicated - logits == 2 * (
        whole - logits
    )
    wide = activation_bytes(small_model(dense_layers=(0,)), long, Feeding())
    assert wide - whole == 1000 * 2 * (4 * WIDE - 2 * WIDE) * 2


def test_streaming_keeps_the_kv_cache_on_the_gpu() -> None:
    """ZeRO-3 streaming moves weights; attention runs on the GPU over a KV cache that stays there."""
    run = simulate(_scenario("zero-streaming", 1e9))
    assert isinstance(run, Run)
    assert (
        run.memory_items["KV cache"] == 6 * 3 * 16 * 2 * HIDDEN * 2
        and run.memory_items["resident experts"] == 0
    )


def test_streaming_buffers_hold_embedding_and_head_in_turn() -> None:
    """A vocabulary larger than any layer is what bounds streaming: peak and missing bytes know it."""
    model = MODELS["large-vocabulary"]
    top = sum(model.top_bytes.values())
    assert top > max(
        layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in model.layers
    )
    run = simulate(_scenario("zero-streaming", 1e9, model))
    assert isinstance(run, Run) and run.metrics.peak_gpu_memory_bytes > top
    assert isinstance(
        simulate(_scenario("zero-streaming", run.metrics.peak_gpu_memory_bytes * 0.9, model)),
        Infeasible,
    )


def test_fiddlers_rule_may_set_aside_too_little() -> None:
    """Its run is simulated, and a warning says by how much it would exceed the GPU."""
    batch = Batch(prompt_tokens=600, output_tokens=2, beams=4)
    run = simulate(_scenario("fiddler", 8_000_000, batch=batch, model=small_model(num_layers=12)))
    assert isinstance(run, Run)
    over = run.metrics.peak_gpu_memory_bytes - 8_000_000
    assert over > 0 and f"would exceed GPU memory by {over} bytes" in run.warnings[0]


def test_host_memory_bounds_what_stays_behind() -> None:
    """A host that cannot hold what the GPU does not:

    Infeasible, by the bytes that are missing there.
    """
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
    found = simulate(
        Scenario(
            machine=small_machine(cpu=cpu),
            model=model,
            batch=BATCH,
            policy=scenario.policy,
            routing=uniform(),
        )
    )
    assert (
        isinstance(found, Infeasible)
        and found.missing_bytes == 1000
        and found.reason.startswith("host memory would hold")
    )


NEED_COPIES = {"lru", "hybrimoe", "mixtral-next-gate", "kt-dynamic"}


@pytest.mark.parametrize("policy", ["on-demand", "mixtral-offloading", *sorted(NEED_COPIES)])
def test_what_leaves_the_gpu_has_a_copy_in_host_memory(policy: str) -> None:
    """Host memory for embedding and all experts but a byte, half of these on the GPU: too little
    where one is overwritten, else enough.
    """
    model = small_model()
    experts = (
        sum(layer.num_experts * layer.expert_bytes for layer in model.layers) + 2 * VOCAB * HIDDEN
    )
    cpu = small_machine().cpu.model_copy(
        update={"memory_bytes": Quantity.model_validate(quantity(experts - 1))}
    )
    machine = small_machine().model_copy(update={"cpu": cpu})
    row = find_policy(policy)
    found = simulate(
        Scenario(
            machine=machine,
            model=model,
            batch=BATCH,
            policy=row,
            routing=uniform(),
            slots_per_layer=4,
        )
    )
    if policy in NEED_COPIES:
        assert (
            isinstance(found, Infeasible)
            and found.missing_bytes == 1
            and "copies of experts on the GPU included" in found.reason
        )
    else:
        assert isinstance(found, Run)


def _scenario(
    policy: str, memory_bytes: float, model: Model | None = None, batch: Batch = BATCH
) -> Scenario:
    return Scenario(
        machine=small_machine(memory_bytes),
        model=model or small_model(),
        batch=batch,
        policy=find_policy(policy),
        routing=uniform(),
    )


@given(st.integers(1, 10**12), st.floats(0.01, 1.0))
def test_a_fraction_of_odd_sizes_is_whole(size: int, fraction: float) -> None:
    """The usable part is rounded down to bytes, the reserve takes the rest."""
    found = usable_bytes(small_machine(size), MemoryRule(usable_fraction=fraction))
    assert found == int(size * fraction)
    assert 0 <= found <= size


@given(name=st.sampled_from(sorted(MODELS)), has_embedding=st.booleans(), data=st.data())
def test_weights_of_a_residency(name: str, has_embedding: bool, data: st.DataObject) -> None:
    """Experts at the size of their own layer, dense parts, and embedding with head."""
    model = MODELS[name]
    experts = np.array(
        [
            [data.draw(st.booleans()) and layer.is_moe for _ in range(model.num_experts)]
            for layer in model.layers
        ]
    )
    dense = np.array([data.draw(st.booleans()) for _ in model.layers])
    has_head = data.draw(st.booleans())
    residency = Residency(
        experts=experts, dense=dense, has_head=has_head, has_embedding=has_embedding
    )
    assert residency.num_experts == experts.sum()
    layers = sum(
        int(row.sum()) * layer.expert_bytes + is_there * layer.dense_bytes
        for row, is_there, layer in zip(experts, dense.tolist(), model.layers, strict=True)
    )
    found = weight_bytes(model, residency)
    assert layers <= found <= layers + sum(model.top_bytes.values())
    if has_head and has_embedding:
        assert found == layers + sum(model.top_bytes.values())
    if has_head:
        without = weight_bytes(model, replace(residency, has_embedding=False))
        assert found - without == (2 * VOCAB * HIDDEN if has_embedding else 0) * (
            model.vocab // VOCAB
        )


@given(window=st.none() | st.integers(1, 40), num_layers=st.integers(1, 6))
def test_a_window_bounds_its_layers_kv(window: int | None, num_layers: int) -> None:
    """Every other layer keeps no more than its window of 16 tokens, the others all of them; a rule
    that does not budget the cache leaves it out, and activations.
    """
    model = small_model(window_tokens=window, num_layers=num_layers)
    kept = [min(window or 16, 16) if layer % 2 == 0 else 16 for layer in range(num_layers)]
    items = _items(model, MemoryRule())
    assert items["KV cache"] == 6 * sum(kept) * 2 * HIDDEN * 2
    assert items["weights outside experts"] == model.non_expert_bytes - 2 * VOCAB * HIDDEN
    unbudgeted = _items(model, FIDDLERS_RULE)
    assert not {"KV cache", "activations", "compute buffers"} & set(unbudgeted)
    assert unbudgeted["rotary tables"] == 16 * 16 * 2 * 2


@given(
    tokens=st.integers(1, 5000),
    context=st.integers(1, 50_000),
    window=st.none() | st.integers(1, 5000),
    has_head=st.booleans(),
)
def test_compute_buffers_are_the_largest_stage(
    tokens: int, context: int, window: int | None, has_head: bool
) -> None:
    """Logits where the GPU has the head; else the experts' results; else attention, whose mask grows
    with the context up to a window. Never less for more tokens, or for a longer context.
    """
    model = small_model(window_tokens=window, num_layers=1)
    found = compute_buffer_bytes(model, tokens, context, has_head=has_head)
    states = tokens * 2 * HIDDEN * 4
    logits = tokens * VOCAB * 4 if has_head else 0
    experts = tokens * 2 * 2 * WIDE * 4
    mask = min(context, context if window is None else window + tokens)
    attention = tokens * (HIDDEN * 4 + mask * 6)
    assert found >= states + max(logits, experts)
    assert found <= states + max(logits, experts, attention + tokens * 6 * 256)
    if window is None:
        assert found == states + max(logits, experts, attention)
    more = (
        compute_buffer_bytes(model, tokens + 1, context, has_head=has_head),
        compute_buffer_bytes(model, tokens, context + 1, has_head=has_head),
    )
    assert min(more) >= found
