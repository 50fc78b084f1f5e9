"""Layers pipelined over micro-batches: times written down by hand, the longest lane as the limit,
and the policy search.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, Machine, load_machine
from planner.bounds import mean_bounds
from sim.costs.cost_model import CostModel
from sim.costs.memory import Infeasible
from sim.engine.task import TaskKind
from sim.model.library import load_model
from sim.model.model import Model, TensorClass
from sim.policies import POLICIES, Action, Policy, with_settings
from sim.policies.pipeline_search import choices
from sim.policies.roofline import Level, attainable_flops_per_s
from sim.routing import load_routing, uniform
from sim.step.simulate import Run, Scenario, draw, problem_of, simulate
from sim.testing import check_policy
from sim.workload.batch import Batch
from tests.sim.small import MODELS, quantity, small_machine, small_model

LIGHTNING = POLICIES["moe-lightning"]
BATCHES = {
    "one": Batch(prompt_tokens=5, output_tokens=4),
    "seven": Batch(prompt_tokens=6, output_tokens=4, batch_size=7),
    "beams": Batch(prompt_tokens=20, output_tokens=3, batch_size=2, beams=3),
}


def _policy(**settings: Any) -> Policy:
    return with_settings(LIGHTNING, {name: str(value) for name, value in settings.items()})


def _run(machine: Machine, model: Model, batch: Batch, **settings: Any) -> Run:
    run = simulate(
        Scenario(
            machine=machine,
            model=model,
            batch=batch,
            policy=_policy(**settings),
            routing=uniform(),
            seed=7,
        )
    )
    assert isinstance(run, Run)
    return run


def _step_ns(run: Run, step: int) -> int:
    return _head_end(run, step) - _head_end(run, step - 1)


def _head_end(run: Run, step: int) -> int:
    tasks = run.timeline.tasks
    return int(run.timeline.end_ns[(tasks.kind == TaskKind.HEAD) & (tasks.step == step)][0])


def _free(part: str) -> dict[str, Any]:
    name = "launch_overhead_ns" if part == "gpu" else "call_overhead_ns"
    found = {
        "name": part,
        "memory_bytes_per_s": quantity(1e18),
        "flops_per_s": {"bf16": quantity(1e21)},
        name: quantity(0),
    }
    own = {"memory_bytes": quantity(1e9), "kernel_ns": quantity(0), "serial_fraction": quantity(0)}
    return found | (own if part == "gpu" else {"cores": 8})


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 6])
@pytest.mark.parametrize("staging_layers", [1, 2, 3])
def test_pages_take_their_bytes_over_the_link(micro_batch: int, staging_layers: int) -> None:
    """GPU and CPU that cost nothing: a step is the bytes of all experts that are not resident, over
    the link, to a nanosecond a page.
    """
    model = small_model(num_layers=4)
    machine = small_machine(link_bytes_per_s=1e9, gpu=_free("gpu"), cpu=_free("cpu"))
    batch = Batch(prompt_tokens=4, output_tokens=6, batch_size=6)
    settings = {
        "micro_batch_sequences": micro_batch,
        "kv_layers": 4,
        "resident_experts": 5,
        "ffn_on_gpu": "true",
    }
    run = _run(machine, model, batch, staging_layers=staging_layers, **settings)
    expected_ns = (32 - 5) * model.expert_bytes
    for step in range(2, 6):
        assert _step_ns(run, step) == pytest.approx(expected_ns, abs=4 * 6)
    assert run.metrics.h2d_bytes == 6 * expected_ns, "1 byte a ns; six groups of passes"
    assert run.residency.experts.sum(axis=1).tolist() == [2, 1, 1, 1]


def test_one_micro_batch_is_a_chain() -> None:
    """All experts resident, KV cache on the host: each layer is products, queries down, attention,
    sums up, products, gate, experts.
    """
    model, machine = small_model(num_layers=2), small_machine(latency_ns=400)
    batch = Batch(prompt_tokens=4, output_tokens=6, batch_size=3)
    run = _run(machine, model, batch, micro_batch_sequences=3, kv_layers=0, ffn_on_gpu="true")
    costs, attention = CostModel(machine=machine, model=model), model.layers[0].attention
    assert run.residency.experts.all() and not run.metrics.cpu_expert_calls
    for index in np.flatnonzero(~run.passes.is_prefill).tolist():
        position = int(run.passes.first_position[index])
        down = 3 * (attention.score_elements + attention.kv_elements_per_token) * 2
        chain = int(costs.projection(0, 3, is_output=False).ns) + int(
            costs.projection(0, 3, is_output=True).ns
        )
        chain += int(costs.copy("d2h", down, is_pinned=True).ns) + int(
            costs.copy("h2d", 3 * 64 * 2, is_pinned=True).ns
        )
        chain += int(costs.attention_core("cpu", 0, 3, 3, position, position + 1).ns)
        chain += int(costs.weights("gpu", 0, TensorClass.ROUTER, 3).ns)
        experts = sum(
            int(costs.expert("gpu", layer, int(count)).ns)
            for layer in range(2)
            for count in run.tokens[index, layer]
            if count
        )
        assert _step_ns(run, int(run.passes.step[index])) == 2 * chain + experts + int(
            costs.head("gpu", 3).ns
        )


class Lanes:
    """GPU, both directions of the link and CPU, each free from some instant; micro-batches by
    place.
    """

    def __init__(self, costs: CostModel, position: int) -> None:
        self.costs, self.position = costs, position
        self.gpu = self.down = self.cpu = self.up = 0
        self.ready, self.returned = [0, 0], [0, 0]

    def first_half(self, place: int, count: int) -> None:
        """Products, queries down, attention, sums up."""
        costs, attention = self.costs, self.costs.model.layers[0].attention
        sent = count * (attention.score_elements + attention.kv_elements_per_token) * 2
        self.gpu = max(self.gpu, self.ready[place]) + int(
            costs.projection(0, count, is_output=False).ns
        )
        self.down = max(self.gpu, self.down) + int(costs.copy("d2h", sent, is_pinned=True).ns)
        core = costs.attention_core("cpu", 0, count, count, self.position, self.position + 1)
        self.cpu = max(self.down, self.cpu) + int(core.ns)
        self.up = max(self.cpu, self.up) + int(costs.copy("h2d", count * 64 * 2, is_pinned=True).ns)
        self.returned[place] = self.up

    def second_half(self, place: int, count: int, tokens: list[int]) -> None:
        """Products, gate, experts."""
        self.gpu = max(self.gpu, self.returned[place]) + int(
            self.costs.projection(0, count, is_output=True).ns
        )
        self.gpu += int(self.costs.weights("gpu", 0, TensorClass.ROUTER, count).ns)
        self.gpu += sum(int(self.costs.expert("gpu", 0, given).ns) for given in tokens if given)
        self.ready[place] = self.gpu


def test_two_micro_batches_in_turn() -> None:
    """The same with two: a plain recurrence of the four lanes, first halves two micro-batches ahead
    of second halves, across layers.
    """
    model, machine = small_model(num_layers=3), small_machine(latency_ns=400)
    batch = Batch(prompt_tokens=4, output_tokens=5, batch_size=5)
    run = _run(machine, model, batch, micro_batch_sequences=3, kv_layers=0, ffn_on_gpu="true")
    costs = CostModel(machine=machine, model=model)
    for step in range(
        2, 5
    ):  # in the first, what the prompt leaves in the KV cache is still on its way down
        rows = np.flatnonzero(run.passes.step == step).tolist()
        counts = [int(run.passes.num_tokens[index]) for index in rows]
        assert counts == [3, 2]
        lanes = Lanes(costs, int(run.passes.first_position[rows[0]]))
        for place in (0, 1):
            lanes.first_half(place, counts[place])
        for layer in range(3):
            for place in (0, 1):
                lanes.second_half(place, counts[place], run.tokens[rows[place], layer].tolist())
                if layer < 2:
                    lanes.first_half(place, counts[place])
        assert _step_ns(run, step) == lanes.gpu + int(costs.head("gpu", 5).ns)


MARGIN = 0.08
"""How far a decode step of many micro-batches may exceed its longest lane: filling and draining the
pipeline once a step.
"""


@pytest.mark.parametrize("lane", ["h2d", "cpu", "gpu"])
def test_a_layer_takes_as_long_as_its_longest_lane(lane: str) -> None:
    """Twelve micro-batches through twelve layers, where link, CPU or GPU is slowest: a step is that
    lane's work, within the margin.
    """
    model = small_model(num_layers=12)
    slow: dict[str, dict[str, Any]] = {
        "h2d": {"link_bytes_per_s": 1e9},
        "cpu": {
            "link_bytes_per_s": 3e9,
            "cpu": _free("cpu") | {"memory_bytes_per_s": quantity(2e9)},
        },
        "gpu": {
            "link_bytes_per_s": 3e9,
            "gpu": _free("gpu") | {"memory_bytes_per_s": quantity(1.2e10)},
        },
    }
    batch = Batch(prompt_tokens=32, output_tokens=6, batch_size=48)
    settings = {
        "micro_batch_sequences": 4,
        "kv_layers": 0,
        "resident_experts": 24,
        "ffn_on_gpu": "true",
    }
    run = _run(small_machine(**slow[lane]), model, batch, **settings)
    tasks, mean_ns = run.timeline.tasks, (_head_end(run, 5) - _head_end(run, 1)) / 4
    busy = [
        tasks.duration_ns[(tasks.step >= 2) & (tasks.resource == number)].sum() / 4
        for number in range(4)
    ]
    assert run.timeline.platform.resources[int(np.argmax(busy))].name == lane
    assert sum(busy) > 1.2 * max(busy), "there is something to hide"
    assert max(busy) * (1 - 1 / 12) < mean_ns < max(busy) * (1 + MARGIN), (
        "two layers may have been paged in before"
    )


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(
    "settings",
    [
        {
            "micro_batch_sequences": 2,
            "prefill_micro_batch_sequences": 1,
            "kv_layers": 0,
            "ffn_on_gpu": "true",
            "resident_experts": 3,
        },
        {"micro_batch_sequences": 1, "kv_layers": 1, "ffn_on_gpu": "true", "staging_layers": 1},
        {"micro_batch_sequences": 3, "kv_layers": 0, "ffn_on_gpu": "false", "resident_experts": 5},
        {
            "micro_batch_sequences": 2,
            "kv_layers": 1,
            "groups_experts": "true",
            "ffn_on_gpu": "false",
            "resident_experts": 6,
        },
        {"staging_layers": 3, "resident_experts": 1, "ffn_on_gpu": "true", "prefill": "serial"},
        {"replicates_prompt": "true", "is_pinned": "false", "decode": "serial"},
    ],
)
def test_pipelines_conform(settings: dict[str, Any], model: Model, batch: Batch) -> None:
    """On odd models and batches, with interference and without; both engines agree to the
    nanosecond.
    """
    interference = [
        {"busy": busy, "slows": slows, "rate_fraction": quantity(0.7)}
        for busy, slows in (("cpu", "h2d"), ("h2d", "cpu"))
    ]
    check_policy(
        _policy(**settings), model, small_machine(overhead_ns=300, latency_ns=700), batch, seed=5
    )
    check_policy(
        _policy(**settings), model, small_machine(interference=interference), batch, seed=6
    )


def test_attention_on_the_cpu_reads_its_cache_from_dram() -> None:
    """Memory-bound: bytes of keys and values over the DRAM's rate; and the pieces of an attention
    are never less than the whole.
    """
    model, machine = small_model(window_tokens=300), small_machine()
    costs = CostModel(machine=machine, model=model)
    for layer, length in ((1, 1000), (0, 300)):  # layer 0 has a window
        price = costs.attention_core("cpu", layer, 5, 5, 999, 1000)
        read = 5 * length * 2 * 64 * 2 + 5 * 2 * 64 * 2
        assert (
            int(price.ns) == round(read / 10e9 * 1e9)
            and price.provenance.source == "made up for tests"
        )
        pieces = sum(int(costs.projection(layer, 5, is_output=which).ns) for which in (False, True))
        pieces += int(costs.attention_core("gpu", layer, 5, 5, 999, 1000).ns)
        assert pieces + 2 >= int(costs.attention("gpu", layer, 5, 5, 999, 1000).ns)


def _scenario(batch: Batch, gigabytes: float = 16.0, policy: Policy = LIGHTNING) -> Scenario:
    model = load_model("mixtral-8x7b")
    machine = load_machine("desktop-rtx-4090-ddr5", (f"gpu.memory_bytes={int(gigabytes * 10**9)}",))
    return Scenario(
        machine=machine, model=model, batch=batch, policy=policy, routing=load_routing(None, model)
    )


def test_a_large_batch_on_a_small_card_gains_by_pipelining() -> None:
    """Mixtral, 64 prompts of 448 tokens on 16 GB: more tokens a second than streaming whole layers,
    about as many as fetching on demand.
    """
    batch = Batch(prompt_tokens=448, output_tokens=8, batch_size=64)
    speeds = {}
    for name in ("moe-lightning", "zero-streaming", "on-demand"):
        run = simulate(_scenario(batch, policy=POLICIES[name]))
        assert isinstance(run, Run)
        speeds[name] = run.metrics.output_tokens_per_s
    assert speeds["moe-lightning"] > 1.02 * speeds["zero-streaming"], speeds
    assert speeds["moe-lightning"] > 0.97 * speeds["on-demand"], speeds


def test_batches_that_others_have_no_memory_for() -> None:
    """256 prompts of 512 tokens: only with the KV cache on the host is there room; the CPU attends."""
    batch = Batch(prompt_tokens=512, output_tokens=2, batch_size=256)
    assert all(
        isinstance(simulate(_scenario(batch, policy=POLICIES[name])), Infeasible)
        for name in ("zero-streaming", "on-demand")
    )
    run = simulate(_scenario(batch))
    assert isinstance(run, Run) and run.residency.kv is not None and not run.residency.kv.all()
    tasks = run.timeline.tasks
    assert (
        (tasks.kind == TaskKind.ATTENTION) & (tasks.resource == run.timeline.platform.index("cpu"))
    ).any()


def test_the_search_takes_the_least_predicted_time_that_fits() -> None:
    """No other point is predicted faster; a single prompt has its experts on the CPU, a large batch
    on the GPU; the prediction is near.
    """
    for batch_size, on_gpu in ((1, False), (64, True)):
        scenario = _scenario(Batch(prompt_tokens=256, output_tokens=8, batch_size=batch_size))
        points = list(choices(LIGHTNING, problem_of(scenario)))
        run = simulate(scenario)
        assert isinstance(run, Run)
        best = min(point.seconds for point in points if not point.missing_bytes)
        policy = run.scenario.policy
        chosen = (
            policy.feeding,
            getattr(policy.placement, "resident_experts", None),
            getattr(policy.dispatch, "ffn_on_gpu", None),
        )
        [point] = [
            p
            for p in points
            if (p.feeding, p.resident_experts, p.ffn_on_gpu) == chosen and p.seconds == best
        ][:1]
        assert point.missing_bytes == 0 and point.ffn_on_gpu == on_gpu
        assert run.metrics.end_to_end_s == pytest.approx(best, rel=0.15)
        assert (
            policy.tuning is None
            and simulate(replace(scenario, policy=policy)).metrics == run.metrics
        )  # type: ignore[union-attr]


def test_set_parameters_are_kept() -> None:
    """The search chooses only what is not set, and slots that are imposed are followed."""
    batch = Batch(prompt_tokens=8, output_tokens=3, batch_size=4)
    run = _run(small_machine(), small_model(), batch, micro_batch_sequences=3, kv_layers=1)
    assert run.scenario.policy.feeding.micro_batch_sequences == 3 and run.residency.kv is not None
    assert run.residency.kv.tolist() == [True, False, False]
    held = check_policy(LIGHTNING, small_model(), small_machine(), batch, slots_per_layer=2)
    assert (
        isinstance(held, Run)
        and held.residency.experts.sum(axis=1).tolist() == [2, 2, 2]
        and held.warnings == ()
    )


def test_host_memory_holds_the_cache_too() -> None:
    """Where the host's memory is stated, weights and KV cache must fit it; the bytes that it lacks
    are said.
    """
    scenario = _scenario(Batch(prompt_tokens=4096, output_tokens=2, batch_size=256))
    found = simulate(scenario)
    assert (
        isinstance(found, Infeasible)
        and "KV cache, has" in found.reason
        and found.missing_bytes > 0
    )


@given(seed=st.integers(0, 10**6))
@settings(max_examples=12)
def test_no_pipeline_beats_its_bounds(seed: int) -> None:
    """On drawn machines and batches, end to end, to the first token and from there."""
    rng = np.random.default_rng(seed)
    model = list(MODELS.values())[seed % len(MODELS)]
    batch = Batch(
        prompt_tokens=int(rng.integers(1, 40)),
        output_tokens=int(rng.integers(1, 5)),
        batch_size=int(rng.integers(1, 9)),
    )
    machine = small_machine(
        float(rng.uniform(0.5, 2.0)) * model.total_bytes, 10 ** float(rng.uniform(8, 11))
    )
    run = simulate(
        Scenario(
            machine=machine,
            model=model,
            batch=batch,
            policy=LIGHTNING,
            routing=uniform(),
            seed=seed,
        )
    )
    if isinstance(run, Infeasible):
        return
    drawn = draw(run.scenario, run.scenario.policy.feeding)
    bounds = mean_bounds(problem_of(run.scenario), [drawn])
    assert 0 < bounds.clairvoyant_s <= bounds.static_s <= run.metrics.end_to_end_s


def test_what_does_not_go_together_is_one_line() -> None:
    """Pages without a buffer, residents that change, micro-batches of two kinds."""
    model, batch = small_model(), Batch(prompt_tokens=4, output_tokens=3)
    with pytest.raises(
        InputError,
        match=r"^staging_layers must be at least 1, .* where layers are paged, got 0 of share 1$",
    ):
        _run(small_machine(), model, batch, staging_layers=0, ffn_on_gpu="true", resident_experts=3)
    changing = replace(LIGHTNING, cache=POLICIES["daop"].cache)
    with pytest.raises(
        InputError, match=r"^moe-lightning: pipelined layers need residents that stay"
    ):
        simulate(
            Scenario(
                machine=small_machine(),
                model=model,
                batch=batch,
                policy=changing,
                routing=uniform(),
            )
        )
    with pytest.raises(InputError, match=r"^micro-batches of sequences go with neither"):
        _policy(prefill_chunk_tokens=8, micro_batch_sequences=2)
    with pytest.raises(InputError, match=r"^micro_batch_sequences must be at least 1, got 0$"):
        _policy(micro_batch_sequences=0)


def test_paged_experts_are_no_hits() -> None:
    """What comes by page was not on the GPU when its gate selected it; every expert still runs once
    a micro-batch that selects it.
    """
    run = _run(
        small_machine(),
        small_model(),
        Batch(prompt_tokens=4, output_tokens=6, batch_size=4),
        resident_experts=12,
        ffn_on_gpu="true",
    )
    is_paged = run.decisions.actions == Action.PAGED
    assert is_paged.any() and run.metrics.expert_hit_rate == pytest.approx(
        1 - run.tokens[is_paged].sum() / run.tokens.sum()
    )


@given(*[st.floats(1.0, 1e15)] * 6)
def test_the_hierarchical_roofline_is_its_least_term(
    flops: float, rate: float, peak: float, own_bytes: float, link: float, link_bytes: float
) -> None:
    """min(P_i, B_i · I_i, B_ji · I_j): compute-bound, bound by its own memory, bound by the link."""
    level = Level(flops_per_s=peak, bytes_per_s=rate)
    alone = attainable_flops_per_s(flops, level, own_bytes)
    assert alone == pytest.approx(min(peak, rate * flops / own_bytes))
    both = attainable_flops_per_s(flops, level, own_bytes, link, link_bytes)
    assert both == pytest.approx(min(alone, link * flops / link_bytes))
