"""Prefetchers: what they name, what is copied for it, and when."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwprofiles import InputError, load_machine
from sim.costs.memory import Residency
from sim.engine.task import TaskKind
from sim.model.library import load_model
from sim.policies import find_policy, with_settings
from sim.policies.actions import Action
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.dispatch.three_lanes import ThreeLanesDispatch
from sim.policies.foresight import Foresight
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.gain import GainPrefetch
from sim.policies.prefetch.learned import LearnedPrefetch
from sim.policies.prefetch.next_gate import MIXTRAL_NEXT_GATE_ACCURACY, NextGatePrefetch
from sim.policies.prefetch.none import NoPrefetch
from sim.policies.prefetch.request_counts import (
    RequestCountsPrefetch,
    matches,
    nothing_yet,
    past_of,
)
from sim.routing import load_routing, uniform
from sim.step.simulate import Run, Scenario, draw, problem_of, simulate
from sim.step.simulate import foresight_of as foresight_from
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine, small_model

DECODE = Batch(prompt_tokens=1, output_tokens=600)


def foresight_of(scenario: Scenario) -> Foresight:
    """What a prefetcher is told of that scenario."""
    problem, drawn = problem_of(scenario), draw(scenario, scenario.policy.feeding)
    residency = scenario.policy.placement.place(problem)
    assert isinstance(residency, Residency)
    return foresight_from(scenario, problem, residency, drawn)


def scenario_of(name: str, batch: Batch = DECODE, **settings: str) -> Scenario:
    """A policy on a small model with four layers, 3 of 8 experts of each on the GPU."""
    return Scenario(
        machine=small_machine(link_bytes_per_s=0.2e9),
        model=small_model(num_layers=4),
        batch=batch,
        policy=with_settings(find_policy(name), settings),
        routing=uniform(),
        seed=9,
        slots_per_layer=3,
    )


def _named(prefetch: Prefetch, foresight: Foresight) -> set[tuple[int, int, int, int]]:
    """(pass, layer of the gate, layer, expert) of every candidate."""
    found = prefetch.predict(foresight)
    gate = np.repeat(np.arange(len(found.first) - 1), np.diff(found.first))
    index, at = np.divmod(gate, foresight.tokens.shape[1])
    is_start = gate >= len(foresight.passes) * foresight.tokens.shape[1]
    index, at = (
        np.where(is_start, gate - len(foresight.passes) * foresight.tokens.shape[1], index),
        np.where(is_start, -1, at),
    )
    return set(
        zip(
            index.tolist(),
            at.tolist(),
            found.candidates["layer"].tolist(),
            found.candidates["expert"].tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.847, 1.0])
@pytest.mark.parametrize("kind", [NextGatePrefetch, LearnedPrefetch])
def test_accuracy_is_the_share_of_selections_named(
    kind: type[NextGatePrefetch | LearnedPrefetch], accuracy: float
) -> None:
    """Within four standard deviations; as many experts are named as selected."""
    foresight = foresight_of(scenario_of("pre-gated"))
    named = _named(kind(accuracy=accuracy), foresight)
    selected = [tuple(row) for row in np.argwhere(foresight.tokens > 0).tolist() if row[1] > 0]
    by_target = {(index, layer, expert) for index, _, layer, expert in named}
    share = np.mean([key in by_target for key in selected])
    assert share == pytest.approx(
        accuracy, abs=4 * np.sqrt(accuracy * (1 - accuracy) / len(selected)) + 1e-12
    )
    assert len(by_target) == len(named) == len(selected)


def test_accuracy_falls_with_distance_and_follows_depth() -> None:
    """To the power of the distance; AdapMoE's figures by layer for a model as deep as Mixtral."""
    foresight = foresight_of(scenario_of("pre-gated"))
    assert NextGatePrefetch(accuracy=0.5).accuracy_at(foresight, 3).tolist() == [0.125] * 4
    deep = replace(
        scenario_of("pre-gated"),
        model=small_model(num_layers=32),
        batch=Batch(prompt_tokens=1, output_tokens=2),
    )
    found = NextGatePrefetch(accuracy_source="mixtral").accuracy_at(foresight_of(deep), 1)
    assert found[1:] == pytest.approx(MIXTRAL_NEXT_GATE_ACCURACY)


@pytest.mark.parametrize(
    "name", ["mixtral-next-gate", "promoe", "moe-infinity", "fmoe", "pre-gated"]
)
@pytest.mark.parametrize("model", ["dense-first-and-shared", "alternating-top-1"])
def test_only_gates_ask_and_never_for_what_is_past(name: str, model: str) -> None:
    """Candidates hang on MoE layers' gates and lie ahead in the same pass; fMoE also names the
    first layers when a pass starts.
    """
    foresight = foresight_of(
        replace(
            scenario_of(name), model=MODELS[model], batch=Batch(prompt_tokens=6, output_tokens=20)
        )
    )
    moe_layers = foresight.problem.model.moe_layers
    named = _named(find_policy(name).prefetch, foresight)
    assert named, "something is named"
    for _, at, layer, _ in named:
        assert layer in moe_layers and layer > at
        assert at in moe_layers or (name == "fmoe" and at == -1 and layer in moe_layers[:3])


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_stride_is_the_lead(stride: int) -> None:
    """Layer l is asked for at gate l - stride, or at the first gate of the pass where that is too
    early.
    """
    named = _named(LearnedPrefetch(stride=stride), foresight_of(scenario_of("promoe")))
    assert {(at, layer) for _, at, layer, _ in named} == {
        (max(0, layer - stride), layer) for layer in range(1, 4)
    }


def test_exact_selection_wastes_nothing() -> None:
    """Pre-gated: every copy ahead is used, every late or missing expert is of the first layer, and
    bytes are those of the copies.
    """
    run = _run(scenario_of("pre-gated", Batch(prompt_tokens=1, output_tokens=50)))
    tasks = run.timeline.tasks
    ahead = (tasks.kind == TaskKind.PREFETCH) & ~run.timeline.is_dropped
    assert run.metrics.wasted_prefetch_bytes == 0 and not run.timeline.is_dropped.any()
    assert run.metrics.prefetched_bytes == ahead.sum() * run.scenario.model.expert_bytes > 0
    assert set(tasks.layer[tasks.kind == TaskKind.SLOT_FETCH].tolist()) == {0}


def test_wrong_predictions_are_wasted() -> None:
    """With accuracy 0, what a copy ahead brings is at best used later, by chance: most is wasted,
    and the run is slower than LRU's.
    """
    batch = Batch(prompt_tokens=1, output_tokens=50)
    wrong = _run(scenario_of("promoe", batch, accuracy="0"))
    assert wrong.metrics.wasted_prefetch_bytes > 0.5 * wrong.metrics.prefetched_bytes > 0
    assert wrong.metrics.tpot_s > _run(scenario_of("lru", batch)).metrics.tpot_s


def test_a_miss_overtakes_a_prefetch_at_a_chunk_border() -> None:
    """In three pieces a prefetch under way lets a copy on demand pass; in one piece none does."""
    batch = Batch(prompt_tokens=1, output_tokens=50)
    overtaken = {
        chunks: _overtaken(_run(scenario_of("promoe", batch, num_chunks=str(chunks))))
        for chunks in (1, 3)
    }
    assert overtaken[1] == 0 < overtaken[3]


def _overtaken(run: Run) -> int:
    """Prefetches that a copy on demand interrupted.

    Each prefetch holds the link for as long as its copy takes, whenever it waits.
    """
    line, tasks = run.timeline, run.timeline.tasks
    copies = np.flatnonzero(tasks.resource == line.platform.index("h2d"))
    count = 0
    for task in np.flatnonzero((tasks.kind == TaskKind.PREFETCH) & ~line.is_dropped).tolist():
        assert line.busy_ns[task] == tasks.duration_ns[task]
        if line.end_ns[task] - line.start_ns[task] > line.busy_ns[task]:
            inside = copies[
                (line.end_ns[copies] > line.start_ns[task])
                & (line.start_ns[copies] < line.end_ns[task])
                & (copies != task)
            ]
            assert inside.size, "it waits for nothing else"
            count += bool((tasks.kind[inside] == TaskKind.SLOT_FETCH).any())
    return count


@pytest.mark.parametrize("max_waiting", [1, 2, 5])
def test_no_more_wait_than_may(max_waiting: int) -> None:
    """Prefetches submitted and not yet at their end, at any gate; more room gives more of them."""
    run = _run(
        scenario_of(
            "moe-infinity", Batch(prompt_tokens=1, output_tokens=30), max_waiting=str(max_waiting)
        )
    )
    line, tasks = run.timeline, run.timeline.tasks
    gates = np.flatnonzero(tasks.kind == TaskKind.GATE)
    ahead = np.flatnonzero(tasks.kind == TaskKind.PREFETCH)
    asked_ns = line.end_ns[gates[np.searchsorted(gates, ahead) - 1]]
    waiting = [
        int(((asked_ns <= now) & (line.end_ns[ahead] > now)).sum()) for now in line.end_ns[gates]
    ]
    assert max(waiting) == max_waiting


def test_an_awaited_lookup_delays_and_one_aside_does_not() -> None:
    """MoE-Infinity's layers wait for the lookup; fMoE's matcher works beside them."""
    batch = Batch(prompt_tokens=1, output_tokens=10)
    for name, resource in (("moe-infinity", "host"), ("fmoe", "matcher")):
        others = {"update_ns": "0"} if name == "fmoe" else {}
        slow, fast = (
            _run(replace(scenario_of(name, batch, lookup_ns=ns, **others), slots_per_layer=8))
            for ns in ("1000000", "0")
        )
        assert slow.metrics.busy_s[resource] > 0.01 and fast.metrics.busy_s[resource] == 0
        delay_s = slow.metrics.end_to_end_s - fast.metrics.end_to_end_s
        assert delay_s == pytest.approx(
            slow.metrics.busy_s[resource] if name == "moe-infinity" else 0.0, abs=1e-12
        )


def _counted(*passes: list[list[int]]) -> NDArray[np.int32]:
    return np.array(passes, np.int32)


def test_the_nearest_request_is_found() -> None:
    """By the cosines of the rows so far: a past request with the same experts, whatever their
    number, is at likeness 1.
    """
    stored = np.array([[[3, 1, 0], [0, 2, 2]], [[0, 0, 5], [6, 0, 0]]], np.float32)
    past = past_of(stored)
    so_far = nothing_yet(past)
    first = matches(_counted([[0, 0, 1], [2, 0, 0]]), past, so_far)
    assert so_far.cosines.tolist() == [[0.0, 1.0], [0.0, 1.0]]
    second = matches(_counted([[0, 0, 1], [2, 0, 0]]), past, so_far)
    assert [*first.before, *second.before] == [0, 1], (
        "nothing is known before the first pass: a tie goes to the first"
    )
    assert first.during.tolist() == second.during.tolist() == [[1, 1]]


@given(num_requests=st.integers(1, 5), num_passes=st.integers(1, 12), seed=st.integers(0, 999))
@settings(max_examples=40)
def test_matching_is_that_of_the_formula(num_requests: int, num_passes: int, seed: int) -> None:
    """The mean over layers of cosines between rows, of this pass up to the layer at hand, of the
    pass before beyond it; in one piece or pass by pass.
    """
    generator = np.random.default_rng(seed)
    stored = generator.integers(0, 9, (num_requests, 3, 4)).astype(np.float32)
    tokens = generator.integers(0, 3, (num_passes, 3, 4)).astype(np.int32)
    past = past_of(stored)
    found = matches(tokens, past, nothing_yet(past))
    so_far = nothing_yet(past)
    apart = [matches(tokens[index : index + 1], past, so_far) for index in range(num_passes)]
    assert found.during.tolist() == [each.during[0].tolist() for each in apart]
    assert found.before.tolist() == [each.before[0] for each in apart]
    counts = np.concatenate([np.zeros((1, 3, 4)), np.cumsum(tokens, axis=0)])
    lengths = np.linalg.norm(counts, axis=2)[:, :, None] * np.linalg.norm(stored, axis=2).T
    cosines = np.einsum("ple,rle->plr", counts, stored) / np.where(lengths > 0, lengths, 1)
    for index in range(num_passes):
        _is_nearest(found.before[index], cosines[index].sum(axis=0))
        for layer in range(3):
            known = cosines[index + 1, : layer + 1].sum(axis=0) + cosines[index, layer + 1 :].sum(
                axis=0
            )
            _is_nearest(found.during[index, layer], known)


def _is_nearest(number: int, likeness: NDArray[np.float64]) -> None:
    """Nothing is nearer by more than rounding."""
    assert likeness[number] >= likeness.max() - 1e-9


def test_gain_brings_the_heaviest_and_only_where_it_helps() -> None:
    """Where experts come ahead, what is left to the CPU has no more tokens; none comes where a copy
    takes far longer than the CPU.
    """
    batch = Batch(prompt_tokens=1, output_tokens=40, batch_size=4)
    exact = scenario_of("hybrimoe", batch, accuracy="1", distance="1")
    run = _run(replace(exact, machine=small_machine(link_bytes_per_s=20e9)))
    ahead = _ahead(run)
    assert ahead, "something is fetched ahead"
    for step, layer, expert in ahead:
        on_cpu = run.decisions.actions[step, layer] == Action.CPU
        if run.decisions.actions[step, layer, expert] == Action.RESIDENT:
            assert run.tokens[step, layer, expert] >= run.tokens[step, layer, on_cpu].max(initial=0)
    assert not _ahead(_run(replace(exact, machine=small_machine(link_bytes_per_s=1e6))))


def _ahead(run: Run) -> list[tuple[int, int, int]]:
    """(step, layer, expert) of every copy ahead of a gate, in their order."""
    tasks = run.timeline.tasks
    of = (tasks.kind == TaskKind.PREFETCH) & ~run.timeline.is_dropped
    return list(
        zip(
            tasks.step[of].tolist(),
            tasks.layer[of].tolist(),
            tasks.expert[of].tolist(),
            strict=True,
        )
    )


CELLS = [
    ("mixtral-8x7b", "a100-40"),
    ("mixtral-8x7b", "fiddler-e1"),
    ("mixtral-8x7b", "desktop-rtx-5090-ddr5"),
    ("phi-3.5-moe", "fiddler-e2"),
    ("deepseek-v2-lite", "desktop-rtx-3060-ddr4"),
    ("qwen3-30b-a3b", "desktop-rtx-5090-ddr5"),
]


@pytest.mark.parametrize(("model", "machine"), CELLS)
def test_a_prefetch_by_gain_does_not_slow_a_run(model: str, machine: str) -> None:
    """HybriMoE with its prefetch takes at most 2 % longer per token than without, wherever the CPU
    stands by; so does its prompt.
    """
    row, shape = find_policy("hybrimoe"), load_model(model)
    plain = Scenario(
        machine=load_machine(machine),
        model=shape,
        batch=Batch(prompt_tokens=32, output_tokens=17),
        policy=replace(row, prefetch=NoPrefetch()),
        routing=load_routing(None, shape),
    )
    without, ahead = _run(plain).metrics, _run(replace(plain, policy=row)).metrics
    assert ahead.tpot_s <= 1.02 * without.tpot_s and ahead.ttft_s <= 1.02 * without.ttft_s


def test_a_prefetch_by_gain_quickens_a_run() -> None:
    """Where the link is as good as the CPU, a copy that has begun early saves time: an RTX 5090's
    link beside desktop DRAM.
    """
    model = load_model("mixtral-8x7b")
    scenario = Scenario(
        machine=load_machine("desktop-rtx-5090-ddr5"),
        model=model,
        batch=Batch(prompt_tokens=32, output_tokens=33),
        policy=find_policy("hybrimoe"),
        routing=load_routing(None, model),
    )
    ahead, without = (
        _run(replace(scenario, policy=replace(scenario.policy, prefetch=part)))
        for part in (GainPrefetch(num_chunks=3), NoPrefetch())
    )
    assert (
        ahead.metrics.tpot_s < 0.98 * without.metrics.tpot_s and ahead.metrics.prefetched_bytes > 0
    )


@pytest.mark.parametrize(
    "dispatch", [ThreeLanesDispatch(), SpillDispatch(), CheapestDispatch(believed_cost="priced")]
)
def test_the_cpu_computes_what_would_arrive_too_late(dispatch: Dispatch) -> None:
    """Every expert is fetched ahead: over a link far slower than the CPU none is waited for, over
    one that is quicker some are.
    """
    ahead = replace(find_policy("pre-gated"), dispatch=dispatch)
    slow = replace(
        scenario_of("pre-gated", Batch(prompt_tokens=1, output_tokens=20)),
        policy=ahead,
        machine=small_machine(link_bytes_per_s=1e6),
    )
    run = _run(slow)
    coming = run.timeline.start_ns[run.timeline.tasks.kind == TaskKind.PREFETCH]
    assert (
        coming.size
        and not (run.decisions.actions == Action.LATE).any()
        and not (run.decisions.actions == Action.FETCH).any()
    )
    quick = _run(replace(slow, machine=small_machine(link_bytes_per_s=20e9)))
    assert (quick.decisions.actions == Action.LATE).any()


@pytest.mark.parametrize(
    ("policy", "setting", "value"),
    [
        ("promoe", "accuracy", "1.2"),
        ("promoe", "stride", "0"),
        ("pre-gated", "distance", "0"),
        ("fmoe", "capacity", "0"),
        ("moe-infinity", "num_stored", "-1"),
        ("moe-infinity", "max_waiting", "0"),
    ],
)
def test_impossible_settings_are_refused(policy: str, setting: str, value: str) -> None:
    """In one line that names setting and value."""
    with pytest.raises(InputError, match=rf"^{setting} must .* got {value}$"):
        with_settings(find_policy(policy), {setting: value})


def test_an_empty_store_names_nothing() -> None:
    """MoE-Infinity without past requests is a cache by popularity."""
    foresight = foresight_of(scenario_of("moe-infinity"))
    assert not len(RequestCountsPrefetch(num_stored=0).predict(foresight).candidates)


def _run(scenario: Scenario) -> Run:
    run = simulate(scenario)
    assert isinstance(run, Run)
    return run
