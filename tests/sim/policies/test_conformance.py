"""Every row of the policy table keeps to the conformance kit, on odd models and batches."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.costs.memory import Infeasible, MemoryRule, working_bytes
from sim.model.model import Model
from sim.policies import PARTS, POLICIES, Policy, with_settings
from sim.policies.cache.lru import LruCache
from sim.policies.overlap import Overlap
from sim.routing import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.testing import check_copies, check_infeasible, check_memory, check_policy, memory_rule
from sim.workload.batch import Batch, Feeding
from tests.sim.small import MODELS, quantity, small_machine, small_model

BATCHES = {
    "one": Batch(prompt_tokens=5, output_tokens=6),
    "prefill-only": Batch(prompt_tokens=40, output_tokens=1),
    "beams": Batch(prompt_tokens=20, output_tokens=4, batch_size=2, beams=3),
    "long-prompt": Batch(prompt_tokens=1100, output_tokens=3),
}
"""One token or many, one prompt or several, chunks of prefill with a short last one."""


INTERFERENCE = [
    {"busy": busy, "slows": slows, "rate_fraction": quantity(0.7)}
    for busy, slows in (("cpu", "h2d"), ("h2d", "cpu"))
]
"""CPU and link read the same memory."""


def _tight(model: Model, batch: Batch) -> float:
    """GPU memory for everything outside experts, two buffers, and six in ten experts."""
    layers = [layer.num_experts * layer.expert_bytes for layer in model.layers]
    feeding = Feeding(replicates_prompt=True)
    working = max(
        working_bytes(model, batch, feeding, MemoryRule(is_eager=is_eager))
        for is_eager in (False, True)
    )
    working += batch.num_sequences * model.kv_bytes(batch.context_tokens)
    return model.non_expert_bytes + working + 2 * model.expert_bytes + 0.6 * sum(layers)


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_policy_conforms(policy: Policy, model: Model, batch: Batch) -> None:
    """Decisions, tasks, bytes, buffers, memory and both engines, where memory is short and where it
    is not.
    """
    for memory_bytes in (_tight(model, batch), 1e9):
        check_policy(
            policy,
            model,
            small_machine(memory_bytes, overhead_ns=500, latency_ns=1000),
            batch,
            seed=3,
        )
        check_policy(
            policy, model, small_machine(memory_bytes, interference=INTERFERENCE), batch, seed=4
        )


def test_tight_memory_is_tight() -> None:
    """The test above has cases with some experts on the GPU and some not, so that it tests misses."""
    run = simulate(_scenario("on-demand", _tight(MODELS["plain"], BATCHES["one"])))
    assert isinstance(run, Run) and 0.0 < run.metrics.expert_hit_rate < 1.0


@pytest.mark.parametrize("slots", [0, 1, 3, 8])
@pytest.mark.parametrize("name", ["fiddler", "mixtral-offloading", "ktransformers", "on-demand"])
def test_imposed_slots_are_followed(name: str, slots: int) -> None:
    """From no expert on the GPU to all of them; hits agree with the extremes."""
    run = check_policy(
        POLICIES[name],
        MODELS["plain"],
        small_machine(overhead_ns=500),
        BATCHES["beams"],
        slots_per_layer=slots,
    )
    assert isinstance(run, Run)
    assert run.metrics.num_resident_experts == 3 * slots and run.warnings == ()
    if slots in (0, 8):
        assert run.metrics.expert_hit_rate == slots / 8


def test_slots_that_a_policy_cannot_follow_are_reported() -> None:
    """A policy of whole layers warns that the imposed number was not followed."""
    run = simulate(replace(_scenario("llama.cpp", 1e9), slots_per_layer=2))
    assert isinstance(run, Run) and "`expert_slots_per_layer` 2 was not followed" in run.warnings[0]


@pytest.mark.parametrize("writes_back", [False, True])
def test_a_caching_policy_with_lanes_conforms(writes_back: bool) -> None:
    """Parts combine freely: an LRU that overlaps its copies."""
    policy = replace(
        POLICIES["mixtral-offloading"],
        cache=LruCache(writes_back=writes_back),
        overlap=Overlap(staging_experts=2),
    )
    for slots in (0, 1, 2, 5):
        check_policy(
            policy,
            MODELS["dense-first-and-shared"],
            small_machine(),
            BATCHES["beams"],
            slots_per_layer=slots,
        )


@settings(max_examples=80)
@given(data=st.data())
def test_parts_combine_freely(data: st.DataObject) -> None:
    """Any placement, cache, dispatch and overlap make a policy that conforms, on any of the models,
    with any memory.
    """
    parts = {
        kind: data.draw(st.sampled_from(sorted(PARTS[kind])), kind)
        for kind in ("placement", "cache", "dispatch")
    }
    if parts["placement"] == "explicit":
        return  # names experts of one model
    lanes = st.sampled_from(["serial", "lanes"])
    overlap = Overlap(
        prefill=data.draw(lanes),
        decode=data.draw(lanes),
        staging_experts=data.draw(st.integers(1, 3)),
        staging_layers=1,
    )
    made = {kind: PARTS[kind][name]() for kind, name in parts.items()}
    policy = replace(POLICIES["on-demand"], overlap=overlap, **made)
    model, batch = (
        data.draw(st.sampled_from(list(MODELS.values()))),
        data.draw(st.sampled_from(list(BATCHES.values()))),
    )
    memory_bytes = data.draw(st.floats(0.6, 1.4)) * _tight(model, batch)
    machine = small_machine(memory_bytes, latency_ns=500)
    is_live = policy.cache.score is not None
    if is_live and (
        parts["placement"] in {"last-layers", "no-layers"}
        or parts["dispatch"] in {"foretold", "paged"}
    ):
        with contextlib.suppress(
            InputError
        ):  # needs all else on the GPU, and nothing carried on; where memory is too small, it is not asked
            scenario = Scenario(
                machine=machine, model=model, batch=batch, policy=policy, routing=uniform()
            )
            assert isinstance(simulate(scenario), Infeasible)
        return
    if not policy.keeps_residency and parts["dispatch"] in {"foretold", "paged"}:
        with contextlib.suppress(
            InputError
        ):  # what is carried or pipelined needs residents that stay
            check_policy(policy, model, machine, batch)
        return
    check_policy(policy, model, machine, batch)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("on-demand", "staging_experts"),
        ("lru", "staging_experts"),
        ("zero-streaming", "staging_layers"),
    ],
)
def test_copies_need_a_buffer(name: str, setting: str) -> None:
    """Fetching or streaming through no buffer is refused, one line; negative numbers are too."""
    scenario = _scenario(name, _tight(MODELS["plain"], BATCHES["one"]))
    with pytest.raises(
        InputError, match=rf"^({name}: )?{setting} must be at least 1 where .*, got 0$"
    ):
        simulate(replace(scenario, policy=with_settings(scenario.policy, {setting: "0"})))
    with pytest.raises(InputError, match=rf"^{setting} must be at least 0, got -1$"):
        with_settings(scenario.policy, {setting: "-1"})


@settings(max_examples=150)
@given(
    name=st.sampled_from(
        [name for name, policy in POLICIES.items() if memory_rule(policy).budgets_kv]
    ),
    model=st.sampled_from(list(MODELS.values())),
    share=st.floats(0.05, 3.0),
    prompt_tokens=st.integers(1, 700),
    output_tokens=st.integers(1, 4),
    batch_size=st.integers(1, 3),
    beams=st.integers(1, 3),
)
def test_peak_memory_never_exceeds_the_budget(
    name: str,
    model: Model,
    share: float,
    prompt_tokens: int,
    output_tokens: int,
    batch_size: int,
    beams: int,
) -> None:
    """On any GPU: the peak of a run is within what the policy may fill, or the answer is Infeasible
    with exact missing bytes.
    """
    batch = Batch(
        prompt_tokens=prompt_tokens, output_tokens=output_tokens, batch_size=batch_size, beams=beams
    )
    machine = small_machine(
        int(share * model.total_bytes) + 4096 * prompt_tokens * batch.num_sequences * share
    )
    scenario = Scenario(
        machine=machine, model=model, batch=batch, policy=POLICIES[name], routing=uniform()
    )
    run = simulate(scenario)
    if isinstance(run, Infeasible):
        check_infeasible(scenario, run)
    else:
        check_memory(run)
        check_copies(run)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_too_little_memory_is_an_answer(policy: Policy) -> None:
    """A GPU of 100 kilobytes: Infeasible with its reason and exact bytes, never an exception."""
    found = check_policy(
        policy,
        small_model(num_layers=6),
        small_machine(100_000),
        Batch(prompt_tokens=600, output_tokens=2),
    )
    assert isinstance(found, Infeasible)


@pytest.mark.parametrize(
    ("name", "serial"),
    [("on-demand", {"prefill": "serial", "decode": "serial"}), ("mixtral-offloading", {})],
)
def test_more_bandwidth_or_memory_is_never_slower(name: str, serial: dict[str, str]) -> None:
    """Where misses are fetched and nothing overlaps, a faster link and a larger GPU each help or
    change nothing.
    """
    policy = with_settings(POLICIES[name], serial)
    tight = _tight(MODELS["plain"], BATCHES["one"])
    faster = [small_machine(tight, rate) for rate in (1e9, 2e9, 8e9)]
    larger = [small_machine(size) for size in (tight, 1.2 * tight, 1e9)]
    for machines in (faster, larger):
        runs = [
            simulate(replace(_scenario(name, 1e9), policy=policy, machine=machine))
            for machine in machines
        ]
        seconds = [run.metrics.end_to_end_s for run in runs if isinstance(run, Run)]
        assert (
            seconds == sorted(seconds, reverse=True)
            and seconds[0] > seconds[-1]
            and len(seconds) == 3
        )


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_all_on_gpu_is_the_fastest(model: Model) -> None:
    """Where everything fits and nothing has overhead, no policy beats having it all on the GPU."""
    seconds = {}
    for name, policy in POLICIES.items():
        run = simulate(
            Scenario(
                machine=small_machine(),
                model=model,
                batch=Batch(prompt_tokens=8, output_tokens=5),
                policy=policy,
                routing=uniform(),
            )
        )
        assert isinstance(run, Run)
        seconds[name] = run.metrics.end_to_end_s
    assert min(seconds.values()) == seconds["all-on-gpu"]


def _scenario(name: str, memory_bytes: float) -> Scenario:
    return Scenario(
        machine=small_machine(memory_bytes),
        model=MODELS["plain"],
        batch=BATCHES["one"],
        policy=POLICIES[name],
        routing=uniform(),
    )
