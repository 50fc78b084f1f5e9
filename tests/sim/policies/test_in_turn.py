"""Experts run in turn, caches emptied after each pass, and prompts predicted token by token: what a
modelling-code loop does.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.engine.task import TaskKind
from sim.policies import Policy, find_policy, with_settings
from sim.policies.foresight import Foresight
from sim.policies.prefetch.naming import expected_tokens, named
from sim.routing.base import Draw, expert_maps
from sim.step.simulate import Run, Scenario
from sim.workload.batch import Batch, Feeding, forward_passes
from tests.sim.policies.test_prefetch import foresight_of
from tests.sim.policies.test_several_gpus import machine_of, run_of, scenario_of
from tests.sim.small import direction

NAMES = ("lru", "fmoe", "promoe", "moe-infinity", "mixtral-next-gate")


def in_turn(name: str, *, is_emptied: bool = False, **parameters: str) -> Policy:
    """A row of the table with its experts in turn, nothing else serial."""
    policy = find_policy(name)
    overlap = {
        "overlap.groups_experts": "false",
        "overlap.in_turn": "true",
        "overlap.prefill": "lanes",
        "overlap.decode": "lanes",
    }
    return with_settings(
        policy, overlap | {"cache.is_emptied": str(is_emptied).lower()} | parameters
    )


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(NAMES), st.integers(1, 4), st.integers(0, 10**6), st.booleans(), st.booleans()
)
def test_engines_agree(
    name: str, num_gpus: int, seed: int, is_emptied: bool, is_awaited: bool
) -> None:
    """To the nanosecond, emptied or not, where the next layer waits for what was fetched ahead or
    not.
    """
    parameters = (
        {
            "is_copy_awaited": str(is_awaited).lower(),
            "copies_in_turn": str(is_awaited or seed % 2 == 0).lower(),
        }
        if name == "mixtral-next-gate"
        else {}
    )
    scenario = scenario_of(
        name,
        num_gpus,
        policy=in_turn(name, is_emptied=is_emptied, **parameters),
        seed=seed,
        slots_per_layer=3,
    )
    fast, reference = run_of(scenario), run_of(replace(scenario, engine="reference"))
    assert fast.timeline.digest == reference.timeline.digest
    assert fast.metrics == reference.metrics


def _experts_in_order(run: Run) -> list[tuple[int, int]]:
    """(start, end) in ns of every expert with its own copy on demand, if any, in order of
    submission, a gate between layers.
    """
    line, spans = run.timeline, []
    tasks = line.tasks
    for task in np.flatnonzero(np.isin(tasks.kind, (TaskKind.EXPERT, TaskKind.GATE))).tolist():
        before = task - 1
        is_copied = (
            tasks.kind[before] in (TaskKind.SLOT_FETCH, TaskKind.FETCH)
            and tasks.expert[before] == tasks.expert[task]
        )
        is_copied = is_copied and tasks.kind[task] == TaskKind.EXPERT
        spans.append((int(line.start_ns[before if is_copied else task]), int(line.end_ns[task])))
    return spans


@pytest.mark.parametrize("name", NAMES)
def test_one_expert_at_a_time(name: str) -> None:
    """No expert's copy on demand begins before the expert before it has run, whichever GPUs they
    are on; they go by number.
    """
    run = run_of(scenario_of(name, 3, policy=in_turn(name)))
    spans = _experts_in_order(run)
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))
    tasks = run.timeline.tasks
    runs = np.flatnonzero(tasks.kind == TaskKind.EXPERT)
    same = (np.diff(tasks.layer[runs]) == 0) & (np.diff(tasks.step[runs]) == 0)
    assert (np.diff(tasks.expert[runs])[same] > 0).all()


def test_misses_in_turn_add_up() -> None:
    """An empty cache on three GPUs: a layer lasts as long as all copies and runs of its experts
    together, not as the longest link's. Hidden states cross in no time here.
    """
    policy = in_turn("lru", is_emptied=True)
    machine = machine_of(3, gpu_link=direction(1e15, 0))
    batch = Batch(prompt_tokens=9, output_tokens=1)
    run = run_of(scenario_of("lru", 3, policy=policy, machine=machine, batch=batch))
    line, tasks = run.timeline, run.timeline.tasks
    busy = line.end_ns - line.start_ns
    chain = np.isin(
        tasks.kind,
        (
            TaskKind.SLOT_FETCH,
            TaskKind.FETCH,
            TaskKind.EXPERT,
            TaskKind.ATTENTION,
            TaskKind.GATE,
            TaskKind.HEAD,
        ),
    )
    chain |= np.isin(tasks.kind, (TaskKind.OVERHEAD, TaskKind.DENSE_FFN))
    assert line.makespan_ns == busy[chain].sum()
    together = run_of(
        scenario_of(
            "lru",
            3,
            policy=with_settings(policy, {"overlap.in_turn": "false"}),
            machine=machine,
            batch=batch,
        )
    )
    assert together.metrics.ttft_s < run.metrics.ttft_s


@pytest.mark.parametrize("name", NAMES)
def test_an_emptied_cache_keeps_nothing(name: str) -> None:
    """Whatever was on the GPU in one pass is copied anew in the next: without prefetching nothing
    hits, with it no more than is fetched.
    """
    run = run_of(
        scenario_of(
            name,
            2,
            policy=in_turn(name, is_emptied=True),
            batch=Batch(prompt_tokens=3, output_tokens=9),
        )
    )
    tasks, expert_bytes = run.timeline.tasks, run.scenario.model.expert_bytes
    num_selected = int((run.tokens > 0).sum())
    fetched = (
        np.isin(tasks.kind, (TaskKind.SLOT_FETCH, TaskKind.FETCH, TaskKind.PREFETCH))
        & ~run.timeline.is_dropped
    )
    assert fetched.sum() >= num_selected and run.metrics.h2d_bytes >= num_selected * expert_bytes
    if name == "lru":
        assert run.metrics.expert_hit_rate == 0.0 and fetched.sum() == num_selected
    kept = run_of(replace(run.scenario, policy=in_turn(name)))
    assert kept.metrics.h2d_bytes < run.metrics.h2d_bytes


@pytest.mark.parametrize("is_loop", [True, False])
def test_prefetches_one_by_one(is_loop: bool) -> None:
    """What is fetched ahead in turn is copied one at a time; where the next layer waits for it, it
    has all arrived.
    """
    policy = in_turn("mixtral-next-gate", is_copy_awaited="true", copies_in_turn="true")
    run = run_of(
        scenario_of(
            "mixtral-next-gate",
            3,
            policy=with_settings(policy, {"overlap.in_turn": str(is_loop).lower()}),
        )
    )
    line, tasks = run.timeline, run.timeline.tasks
    ahead = np.flatnonzero((tasks.kind == TaskKind.PREFETCH) & ~line.is_dropped)
    assert len(ahead) > 3
    assert (line.start_ns[ahead][1:] >= line.end_ns[ahead][:-1]).all()
    gates = np.flatnonzero(tasks.kind == TaskKind.GATE)
    following = gates[np.minimum(np.searchsorted(gates, ahead), len(gates) - 1)]
    is_followed = following > ahead
    assert (line.start_ns[following[is_followed]] >= line.end_ns[ahead[is_followed]]).all()


def test_a_program_planned_at_once_has_no_turns() -> None:
    """Rows without a scored cache say so."""
    policy = with_settings(find_policy("on-demand"), {"overlap.in_turn": "true"})
    with pytest.raises(InputError, match="in turn needs a cache with a score"):
        run_of(scenario_of("on-demand", 1, policy=policy))


def test_prompts_are_predicted_token_by_token() -> None:
    """An expert that n tokens select is named with probability 1 - (1 - a)^n; a decode step names
    as it did.
    """
    foresight = foresight_of(
        scenario_of(
            "promoe", 1, batch=Batch(prompt_tokens=12, output_tokens=40), slots_per_layer=None
        )
    )
    accuracy = np.full(foresight.tokens.shape[1], 0.5)

    def share(foresight: Foresight, *, by_token: bool) -> tuple[float, float]:
        hits, chance, found = 0, 0.0, np.zeros(foresight.tokens.shape, bool)
        for seed in range(40):
            rows, load = named(
                expected_tokens(
                    foresight, [accuracy], np.random.default_rng(seed), by_token=by_token
                )[0]
            )
            assert (load > 0).all()
            found[:] = False
            found[tuple(rows.T)] = True
            selected = foresight.tokens[0, 1:] > 0
            hits += int(found[0, 1:][selected].sum())
            chance += float((1 - 0.5 ** foresight.tokens[0, 1:][selected]).sum())
        return hits / (40 * selected.sum()), chance / (40 * selected.sum())

    at_least = share(foresight, by_token=True)
    assert at_least[1] - 0.03 < at_least[0] <= 1.0, "those mistaken for it name an expert too"
    assert share(foresight, by_token=False)[0] == pytest.approx(0.5, abs=0.06)
    alone, _ = named(
        expected_tokens(
            foresight, [np.ones_like(accuracy)], np.random.default_rng(0), by_token=True
        )[0]
    )
    assert sorted(map(tuple, alone.tolist())) == sorted(
        map(tuple, np.argwhere(foresight.tokens[:, 1:] > 0) + np.array([0, 1, 0]))
    )


def test_maps_by_token() -> None:
    """A prompt of three tokens gives three maps, one a choice; decode steps as before; their mean
    is the iteration's.
    """
    ids = np.array([[[[0, 1]], [[1, 2]], [[0, 3]], [[2, 3]]]], np.int16)
    passes = forward_passes(Batch(prompt_tokens=3, output_tokens=2), Feeding())
    popularity = np.full((1, 4), 0.25)
    draw = Draw(ids=ids, weights=None, embeddings=np.arange(8, dtype=np.float32).reshape(1, 4, 2))
    single, joint = (expert_maps(draw, passes, popularity, by_token=each) for each in (True, False))
    assert single.of_pass.tolist() == [0, 0, 0, 1] and joint.of_pass.tolist() == [0, 1]
    assert single.shares[:, 0].tolist() == [
        [0.5, 0.5, 0, 0],
        [0, 0.5, 0.5, 0],
        [0.5, 0, 0, 0.5],
        [0, 0, 0.5, 0.5],
    ]
    np.testing.assert_allclose(single.shares[:3].mean(axis=0), joint.shares[0], rtol=1e-6)
    assert single.embeddings is not None and single.embeddings[1].tolist() == [2.0, 3.0]
    weighted = replace(draw, weights=np.full(ids.shape, 0.4, np.float32))
    np.testing.assert_allclose(
        expert_maps(weighted, passes, popularity, by_token=True).shares[1, 0],
        [0.1, 0.4, 0.4, 0.1],
        rtol=1e-6,
    )


def test_all_experts_may_be_named() -> None:
    """Released fMoE names every expert of every layer of every pass, MoE-Infinity rebuilt top-k of
    each layer to come.
    """
    scenario = scenario_of("fmoe", 1, policy=in_turn("fmoe", names_all="true", by_token="true"))
    foresight = foresight_of(scenario)
    found = scenario.policy.prefetch.predict(foresight)
    num_moe = len(scenario.model.moe_layers) * scenario.model.num_experts
    assert len(found.candidates) == len(foresight.passes) * num_moe
    _names_the_likeliest_half(scenario)
    scenario = scenario_of("moe-infinity", 1, policy=in_turn("moe-infinity", most_named="2"))
    foresight, top_k = foresight_of(scenario), scenario.model.top_k
    found = scenario.policy.prefetch.predict(foresight)
    for gate in range(len(foresight.passes) * scenario.model.num_layers):
        layers = found.candidates["layer"][found.first[gate] : found.first[gate + 1]]
        assert (np.unique(layers, return_counts=True)[1] <= top_k).all()


def _names_the_likeliest_half(scenario: Scenario) -> None:
    """With half of a layer's experts at most, those of the highest priorities are named."""
    half = scenario.model.num_experts // 2
    named = scenario_of(
        "fmoe", 1, policy=in_turn("fmoe", names_all="true", by_token="true", most_named=str(half))
    )
    foresight = foresight_of(scenario)
    whole = scenario.policy.prefetch.predict(foresight)
    found = named.policy.prefetch.predict(foresight)
    num_places = len(found.first) - 1
    for place in range(num_places):
        first, last = found.first[place : place + 2]
        every = whole.candidates[whole.first[place] : whole.first[place + 1]]
        for layer in np.unique(found.candidates["layer"][first:last]):
            kept = found.candidates[first:last]
            kept = kept[kept["layer"] == layer]
            known = np.sort(every["priority"][every["layer"] == layer])
            assert len(kept) >= half
            assert np.sort(kept["priority"])[:half].tolist() == known[:half].tolist()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(NAMES), st.integers(1, 4), st.integers(0, 10**6), st.booleans())
def test_engines_agree_where_all_are_loaded(
    name: str, num_gpus: int, seed: int, is_emptied: bool
) -> None:
    """To the nanosecond, where the loop asks for every expert of a layer and a pass may begin with
    names.
    """
    parameters: dict[str, str] = {}
    if name == "moe-infinity":
        parameters |= {
            "most_named": "2",
            "distance": "3",
            "names_at_start": "true",
            "max_waiting": "none",
        }
    if name in ("promoe", "mixtral-next-gate"):
        parameters |= {"by_token": "false", "names_top_k": "true"}
    policy = with_settings(
        in_turn(name, is_emptied=is_emptied), {"overlap.loads_all": "true"} | parameters
    )
    scenario = scenario_of(name, num_gpus, policy=policy, seed=seed, slots_per_layer=3)
    fast, reference = run_of(scenario), run_of(replace(scenario, engine="reference"))
    assert fast.timeline.digest == reference.timeline.digest
    assert fast.metrics == reference.metrics


def test_all_experts_of_a_layer_are_loaded() -> None:
    """An empty cache, nothing fetched ahead: every expert of every MoE layer is copied in each
    pass; hits and calls count selected ones.
    """
    policy = with_settings(in_turn("lru", is_emptied=True), {"overlap.loads_all": "true"})
    run = run_of(scenario_of("lru", 2, policy=policy))
    copied = np.isin(run.timeline.tasks.kind, (TaskKind.SLOT_FETCH, TaskKind.FETCH)).sum()
    model = run.scenario.model
    assert copied == len(run.passes) * len(model.moe_layers) * model.num_experts
    selected = run_of(scenario_of("lru", 2, policy=in_turn("lru", is_emptied=True)))
    assert (
        run.metrics.gpu_expert_calls
        == selected.metrics.gpu_expert_calls
        == np.count_nonzero(run.tokens)
    )
    assert run.metrics.expert_hit_rate == selected.metrics.expert_hit_rate == 0.0
    assert run.metrics.end_to_end_s > selected.metrics.end_to_end_s


def test_all_are_loaded_only_in_turn() -> None:
    """Nothing else asks for experts that no token selects; and a prompt is read in one way."""
    with pytest.raises(InputError, match="needs in_turn"):
        with_settings(find_policy("lru"), {"overlap.loads_all": "true"})
    for name in ("promoe", "mixtral-next-gate"):
        with pytest.raises(InputError, match="choose one"):
            with_settings(find_policy(name), {"by_token": "true", "names_top_k": "true"})


def test_a_prompt_of_one_iteration_names_top_k() -> None:
    """Of a layer of the prompt no more than top-k, and with a perfect predictor those that most
    tokens select; of a token all.
    """
    scenario = scenario_of(
        "promoe", 1, policy=in_turn("promoe", by_token="false", names_top_k="true", accuracy="1.0")
    )
    foresight, top_k = foresight_of(scenario), scenario.model.top_k
    names, _ = named(
        expected_tokens(
            foresight,
            [np.ones(scenario.model.num_layers)],
            np.random.default_rng(0),
            names_top_k=True,
        )[0]
    )
    for layer in scenario.model.moe_layers[1:]:
        own = names[(names[:, 0] == 0) & (names[:, 1] == layer), 2]
        heaviest = np.argsort(-foresight.tokens[0, layer], kind="stable")[:top_k]
        assert set(own.tolist()) == set(heaviest.tolist())
        of_token = names[(names[:, 0] == 1) & (names[:, 1] == layer), 2]
        assert set(of_token.tolist()) == set(np.flatnonzero(foresight.tokens[1, layer]).tolist())


def test_counts_may_be_named_at_the_start() -> None:
    """Every pass begins with the same names, of the first layers, the most used of each; gates name
    no further ahead than the distance.
    """
    policy = in_turn("moe-infinity", most_named="2", distance="3", names_at_start="true")
    scenario = scenario_of("moe-infinity", 1, policy=policy)
    foresight, layers = foresight_of(scenario), list(scenario.model.moe_layers)
    found = scenario.policy.prefetch.predict(foresight)
    num_gates = len(foresight.passes) * scenario.model.num_layers
    starts = [
        found.candidates[found.first[gate] : found.first[gate + 1]]
        for gate in range(num_gates, num_gates + len(foresight.passes))
    ]
    assert all(np.array_equal(start, starts[0]) for start in starts)
    assert sorted(starts[0]["layer"].tolist()) == sorted(2 * layers[:3])
    for gate in range(num_gates):
        ahead = (
            found.candidates["layer"][found.first[gate] : found.first[gate + 1]]
            - gate % scenario.model.num_layers
        )
        assert ((ahead > 0) & (ahead <= 3)).all()
