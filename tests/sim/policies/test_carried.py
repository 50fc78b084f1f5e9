"""CPU experts that start in one layer and are joined in the next, against times written down by
hand: deferral and prediction.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from hwprofiles import InputError, Machine
from planner.search.objectives import Goal
from planner.search.standing import is_allowed
from planner.search.trial import Trial
from sim.costs.cost_model import CostModel
from sim.engine.task import TaskKind
from sim.model.model import Model, TensorClass
from sim.policies import POLICIES, Action, find_policy, with_settings
from sim.policies.cache import swaps
from sim.policies.foresight import Foresight
from sim.routing import uniform
from sim.routing.generated import UNIFORM, GeneratedRouting
from sim.step.lowering.decisions import deferrable
from sim.step.simulate import Run, Scenario, draw, problem_of, simulate
from sim.testing import check_policy
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine, small_model

DECODE = Batch(prompt_tokens=4, output_tokens=9)
BATCHES = {
    "one": Batch(prompt_tokens=5, output_tokens=6),
    "beams": Batch(prompt_tokens=20, output_tokens=4, batch_size=2, beams=3),
}


class Pieces(NamedTuple):
    """Durations in ns of one token's operations."""

    attention: int
    gate: int
    down: int
    up: int
    cpu: int
    gpu: int
    head: int


def _pieces(machine: Machine, model: Model, position: int) -> Pieces:
    costs, hidden = CostModel(machine=machine, model=model), model.hidden * model.activation_bytes
    return Pieces(
        attention=int(costs.attention("gpu", 0, 1, 1, position, position + 1).ns),
        gate=int(costs.weights("gpu", 0, TensorClass.ROUTER, 1).ns),
        down=int(costs.copy("d2h", hidden, is_pinned=True).ns),
        up=int(costs.copy("h2d", hidden, is_pinned=True).ns),
        cpu=int(costs.expert("cpu", 0, 1).ns),
        gpu=int(costs.expert("gpu", 0, 1).ns),
        head=int(costs.head("gpu", 1).ns),
    )


def _run(
    name: str,
    machine: Machine,
    model: Model,
    batch: Batch = DECODE,
    slots: int | None = None,
    **settings: str,
) -> Run:
    policy = with_settings(find_policy(name), settings)
    scenario = Scenario(
        machine=machine,
        model=model,
        batch=batch,
        policy=policy,
        routing=uniform(),
        seed=7,
        slots_per_layer=slots,
    )
    run = simulate(scenario)
    assert isinstance(run, Run)
    return run


def _step_ns(run: Run, step: int) -> int:
    ends = [
        int(run.timeline.end_ns[run.timeline.tasks.step == number].max())
        for number in (step - 1, step)
    ]
    return ends[1] - ends[0]


@pytest.mark.parametrize("latency_ns", [0, 500, 40_000])
def test_a_deferred_expert_is_awaited_one_layer_late(latency_ns: int) -> None:
    """Two layers, top-2, all on the CPU: the second expert of layer 0 runs while layer 1 attends;
    the last layer defers nothing.
    """
    model, machine = small_model(num_layers=2), small_machine(latency_ns=latency_ns)
    deferred = _run("kt-deferral", machine, model, slots=0)
    at_once = _run("ktransformers", machine, model, slots=0)
    for step in range(1, DECODE.output_tokens):
        p = _pieces(machine, model, DECODE.prompt_tokens + step - 1)
        before = p.attention + p.gate + p.down
        assert _step_ns(at_once, step) == 2 * (before + 2 * p.cpu + p.up) + p.head
        assert (
            _step_ns(deferred, step)
            == before + p.cpu + max(p.up + before, p.cpu) + 2 * p.cpu + p.up + p.head
        )
        assert (p.up + before > p.cpu) == (latency_ns > 10_000), (
            "a case where the CPU is never idle, and one where it is"
        )


@pytest.mark.parametrize("slots", [0, 3, 5])
@pytest.mark.parametrize("deferred", [1, 2, 3])
def test_deferral_layer_by_layer(slots: int, deferred: int) -> None:
    """Four layers with shared experts, top-3: a plain recurrence of the lanes gives every step; the
    least weighted are deferred.
    """
    model, machine = (
        small_model(num_layers=4, has_shared=True, top_k=3),
        small_machine(latency_ns=300),
    )
    run = _run("kt-deferral", machine, model, slots=slots, deferred=str(deferred))
    shared = int(
        CostModel(machine=machine, model=model).weights("gpu", 0, TensorClass.SHARED_EXPERT, 1).ns
    )
    ids = draw(run.scenario, run.scenario.policy.feeding).expert_ids[0]
    for step in range(1, DECODE.output_tokens):
        position = DECODE.prompt_tokens + step - 1
        p = _pieces(machine, model, position)
        now, cpu_free, pending = 0, 0, 0
        for layer in range(4):
            chosen = ids[position, layer].tolist()
            absent = [expert for expert in chosen if not run.residency.experts[layer, expert]]
            late = [
                expert for expert in absent if chosen.index(expert) >= 3 - deferred and layer < 3
            ]
            assert (run.decisions.actions[step, layer][late] == Action.DEFERRED).all()
            gated = now + p.attention + p.gate
            own_end = max(cpu_free, gated + p.down) + (len(absent) - len(late)) * p.cpu
            joined = [own_end] * (len(absent) > len(late)) + [pending] * (pending > 0)
            now = gated + shared + (3 - len(absent)) * p.gpu
            now = max([now, max(joined, default=0) + p.up]) if joined else now
            cpu_free = own_end + len(late) * p.cpu if absent else cpu_free
            pending = cpu_free if late else 0
        assert _step_ns(run, step) == now + p.head


def test_predicted_experts_run_while_the_layer_before_does() -> None:
    """DAOP, all on the CPU, predicted from layer 1: layer 0 runs two gates, and starts layer 1's
    experts behind its own.
    """
    for latency_ns in (0, 40_000):
        model, machine = small_model(), small_machine(latency_ns=latency_ns)
        run = _run("daop", machine, model, slots=0, first_layer="1")
        for step in range(1, DECODE.output_tokens):
            p = _pieces(machine, model, DECODE.prompt_tokens + step - 1)
            first = p.attention + 2 * p.gate + p.down + 2 * p.cpu
            ends_0, ahead_1 = first + p.up, first + 2 * p.cpu
            sent_1 = ends_0 + p.attention + p.gate + p.down
            ends_1 = max(ends_0 + p.attention + p.gate, ahead_1 + p.up)
            ends_2 = max(ends_1 + p.attention, max(ahead_1, sent_1) + 2 * p.cpu + p.up)
            assert _step_ns(run, step) == ends_2 + p.head


def test_a_perfect_prediction_changes_no_expert_and_a_wrong_one_does() -> None:
    """With accuracy 1 and no degradation the gates' experts run; with 0.6, in place of about two in
    five runs one not selected.
    """
    model, batch = small_model(num_layers=4), Batch(prompt_tokens=2, output_tokens=300)
    right = _run(
        "daop", small_machine(), model, batch, 3, first_layer="1", accuracy="1", degrades="false"
    )
    wrong = _run(
        "daop", small_machine(), model, batch, 3, first_layer="1", accuracy="0.6", degrades="false"
    )
    gates = draw(right.scenario, right.scenario.policy.feeding).tokens
    assert (right.tokens == gates).all()
    decode = slice(1, None)
    kept = np.minimum(wrong.tokens, gates)[decode, 1:].sum() / gates[decode, 1:].sum()
    assert kept == pytest.approx(0.6, abs=0.05)
    assert (wrong.tokens[:, 0] == gates[:, 0]).all() and (
        wrong.tokens.sum(axis=2) == gates.sum(axis=2)
    ).all()


def test_the_routing_states_how_accurate_predictions_are() -> None:
    """Where the routing knows its accuracy by layer and distance, that counts, not the setting."""
    knows = GeneratedRouting(
        label="known", stated_provenance=UNIFORM, accuracy=((1, (0.0, 0.0, 1.0)),)
    )
    scenario = _run(
        "daop", small_machine(), small_model(), Batch(prompt_tokens=2, output_tokens=40), 3
    ).scenario
    policy = with_settings(
        scenario.policy, {"first_layer": "1", "degrades": "false", "accuracy": "0.5"}
    )
    run = simulate(replace(scenario, policy=policy, routing=knows))
    assert isinstance(run, Run)
    gates = draw(run.scenario, policy.feeding).tokens
    assert not ((run.tokens > 0) & (gates > 0))[1:, 1].any() and (run.tokens == gates)[:, 2].all()


def test_degradation_keeps_one_expert_on_the_gpu() -> None:
    """Where both predicted experts lie on the CPU, a resident takes the place of the second: no
    foretold layer has two on the CPU.
    """
    batch = Batch(prompt_tokens=2, output_tokens=100)
    for degrades, expected in (("true", 1), ("false", 2)):
        run = _run(
            "daop", small_machine(), small_model(), batch, 2, first_layer="1", degrades=degrades
        )
        assert (run.decisions.actions[1:, 1:] == Action.AHEAD).sum(axis=2).max() == expected


def test_a_prompt_brings_its_hot_experts_in() -> None:
    """Against a plain loop: pairs of hottest missing and coldest held, swapped above 1.05 times;
    decode finds what the prompt left.
    """
    batch = Batch(prompt_tokens=60, output_tokens=30)
    model = small_model()
    run = _run("daop", small_machine(), model, batch, 3, first_layer="3")
    swaps, leavers = 0, []
    for layer in range(3):
        counts, held = (
            run.tokens[0, layer].tolist(),
            set(np.flatnonzero(run.residency.experts[layer]).tolist()),
        )
        hot = sorted(set(range(8)) - held, key=lambda expert: (-counts[expert], expert))
        cold = sorted(held, key=lambda expert: (counts[expert], expert))
        for newcomer, leaver in zip(hot, cold, strict=False):
            if counts[newcomer] > 1.05 * counts[leaver]:
                held = held - {leaver} | {newcomer}
                assert run.decisions.actions[0, layer, newcomer] == Action.SWAP
                swaps += 1
                leavers.append((layer, newcomer, leaver))
        hits = run.decisions.actions[1:, layer] == Action.RESIDENT
        assert (hits == (run.tokens[1:, layer] > 0) & np.isin(np.arange(8), list(held))).all()
    tasks = run.timeline.tasks
    assert (
        int((tasks.kind == TaskKind.EVICT).sum())
        == int((tasks.kind == TaskKind.SLOT_FETCH).sum())
        == swaps
        > 0
    )
    out, into = (
        np.flatnonzero(tasks.kind == kind) for kind in (TaskKind.EVICT, TaskKind.SLOT_FETCH)
    )
    found = zip(
        tasks.layer[into].tolist(),
        tasks.expert[into].tolist(),
        tasks.expert[out].tolist(),
        strict=True,
    )
    assert sorted(found) == sorted(leavers), (
        "the copy back to the host is that of the expert that leaves"
    )
    assert not (tasks.step[tasks.kind == TaskKind.SLOT_FETCH] > 0).any(), (
        "after the prompt nothing moves"
    )
    kept = _run("daop", small_machine(), model, batch, 3, first_layer="3", most_swaps="0")
    assert (
        run.metrics.expert_hit_rate != kept.metrics.expert_hit_rate
        and not (kept.decisions.actions == Action.SWAP).any()
    )


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("daop", {"first_layer": "1"}),
        ("daop", {"first_layer": "1", "deferred": "1", "prefill": "serial"}),
        ("daop", {"first_layer": "1", "decode": "serial"}),
        ("kt-deferral", {"deferred": "5"}),
        ("kt-deferral", {"decode": "serial"}),
        ("kt-deferral", {"groups_experts": "true"}),
        ("daop", {"first_layer": "1", "groups_experts": "true"}),
        ("fiddler-v1", {"deferred": "1"}),
        ("llama.cpp", {"deferred": "1"}),
        ("kt-front-loading", {"deferred": "1"}),
    ],
)
def test_what_is_carried_conforms(
    name: str, settings: dict[str, str], model: Model, batch: Batch
) -> None:
    """On odd models, with layers that cannot carry, several tokens a step and serial phases; both
    engines agree.
    """
    policy = with_settings(POLICIES[name], settings)
    for memory_bytes in (0.6 * model.total_bytes, 1e9):
        check_policy(
            policy,
            model,
            small_machine(memory_bytes, overhead_ns=300, latency_ns=700),
            batch,
            seed=5,
        )


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_a_foretold_step_is_the_same_layer_by_layer(
    monkeypatch: pytest.MonkeyPatch, batch: Batch
) -> None:
    """A cache that does not say what it holds is asked layer by layer, and nothing else happens."""
    at_once = _run("daop", small_machine(), small_model(), batch, 3, first_layer="1")
    monkeypatch.setattr(swaps._Swapping, "residents", None)
    by_layer = _run("daop", small_machine(), small_model(), batch, 3, first_layer="1")
    assert at_once.timeline.digest == by_layer.timeline.digest
    np.testing.assert_array_equal(at_once.decisions.actions, by_layer.decisions.actions)
    assert (at_once.decisions.actions == Action.AHEAD).any()


def test_only_experts_that_no_token_needs_at_once_are_deferred() -> None:
    """In a step of several tokens, one that ranks an expert high keeps it in its layer."""
    scenario = Scenario(
        machine=small_machine(),
        model=small_model(),
        batch=Batch(prompt_tokens=2, output_tokens=30, batch_size=3),
        policy=find_policy("kt-deferral"),
        routing=uniform(),
    )
    drawn = draw(scenario, scenario.policy.feeding)
    problem, run = problem_of(scenario), simulate(scenario)
    assert isinstance(run, Run)
    foresight = Foresight(
        problem=problem,
        residency=run.residency,
        routing=scenario.routing,
        passes=drawn.passes,
        tokens=drawn.tokens,
        expert_ids=drawn.expert_ids,
        seed=0,
    )
    found = deferrable(foresight, 1, np.ones(drawn.tokens.shape[:2], bool))
    for step in range(1, 30):
        position = 2 + step - 1
        for layer in range(3):
            first = set(drawn.expert_ids[:, position, layer, 0].tolist())
            assert set(np.flatnonzero(~found[step, layer]).tolist()) == first
    assert not found[0].any(), "a prompt defers nothing"


def test_carried_rows_are_lossy_and_no_plan() -> None:
    """Any setting that defers marks the policy lossy; a run says so and may not be planned with,
    unless that is asked for.
    """
    for policy in (
        POLICIES["daop"],
        POLICIES["kt-deferral"],
        with_settings(POLICIES["ktransformers"], {"deferred": "1"}),
    ):
        assert not policy.is_lossless
        run = check_policy(policy, small_model(), small_machine(), DECODE, slots_per_layer=2)
        assert isinstance(run, Run) and any("is lossy" in warning for warning in run.warnings)
        trial = Trial(
            policy=policy,
            is_named=True,
            problem=problem_of(run.scenario),
            residency=run.residency,
            metrics=[run.metrics],
        )
        assert not is_allowed(run.scenario, trial, Goal()) and is_allowed(
            run.scenario, trial, Goal(is_lossless=False)
        )
    assert POLICIES["ktransformers"].is_lossless


@pytest.mark.parametrize("name", ["lru", "promoe"])
def test_caches_that_follow_the_clock_carry_nothing(name: str) -> None:
    """Refused in one line."""
    with pytest.raises(
        InputError, match=f"^{name}: experts that the CPU carries into another layer need residents"
    ):
        _run(name, small_machine(), small_model(), slots=2, deferred="1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first_layer": "0"}, r"^first_layer must be at least 1, got 0$"),
        ({"accuracy": "1.5"}, r"^accuracy must be between 0 and 1, got 1\.5$"),
        ({"threshold": "0.5"}, r"^threshold must be at least 1, got 0\.5$"),
        ({"most_swaps": "-1"}, r"^most_swaps must be at least 0, got -1$"),
        ({"deferred": "-1"}, r"^deferred must be at least 0, got -1$"),
    ],
)
def test_settings_out_of_range_are_one_line(settings: dict[str, str], message: str) -> None:
    """With what would be right."""
    with pytest.raises(InputError, match=message):
        with_settings(POLICIES["daop"], settings)
