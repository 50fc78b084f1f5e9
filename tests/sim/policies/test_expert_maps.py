"""fMoE by hand-made maps: search, selection, replacement, eviction, and what a recording gives to
the store.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim.engine.task import NONE, TaskKind
from sim.model.model import Model
from sim.policies.cache.score import Score
from sim.policies.prefetch.expert_maps import ExpertMapPrefetch
from sim.policies.prefetch.map_store import MapStore, embeddings_of, select
from sim.policies.shares import gate_shares, maps_of
from sim.routing.base import Draw, expert_maps
from sim.routing.recorded import RecordedRouting
from sim.step.lowering.draft import LAYER, Moment
from sim.step.lowering.leavers import note_run, take_slot
from sim.step.lowering.live_setup import next_uses
from sim.step.lowering.slots import (
    ABSENT,
    CACHE_RULES,
    COMING,
    HELD,
    LAYERS_PER_BLOCK,
    NUM_COUNTERS,
    REACH,
    SLOT,
    Cached,
    forget,
    held_of,
    hold,
)
from sim.step.lowering.worth import note_gate
from sim.step.simulate import Run, simulate
from sim.workload.batch import Batch, Feeding, forward_passes
from tests.sim.policies.test_prefetch import foresight_of, scenario_of
from tests.sim.small import small_model
from validation.published.fmoe.routing import structured_routing


@pytest.mark.parametrize(
    ("score", "top_k", "expected"),
    [
        (1.0, 1, [2]),  # certain: delta 0, so only top-k
        (1.0, 2, [2, 0]),
        (0.6, 1, [2]),  # delta 0.4
        (0.5, 1, [2]),  # delta 0.5, reached exactly
        (0.4, 1, [2, 0]),  # delta 0.6
        (0.1, 1, [2, 0, 3]),  # delta 0.9
        (0.0, 1, [2, 0, 3, 1]),
        (-1.0, 2, [2, 0, 3, 1]),  # clipped to 1
    ],
)
def test_selection_is_the_shortest_prefix(score: float, top_k: int, expected: list[int]) -> None:
    """Shares 0.3, 0.05, 0.5, 0.15: as many, from the largest, as add up to clip(1 - score, 0, 1),
    and at least top-k.
    """
    assert np.flatnonzero(
        select(np.array([0.3, 0.05, 0.5, 0.15], np.float32), score, top_k)
    ).tolist() == sorted(expected)


def _maps(*rows: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One map a row: the expert that has all the weight, by layer; of three experts."""
    return np.eye(3, dtype=np.float32)[np.array(rows)]


def test_first_layers_go_by_embedding_and_later_ones_by_trajectory() -> None:
    """Distance 2 of 4 layers: layers 0 and 1 from the entry of the same embedding, layers 2 and 3
    from the one with the same beginning.
    """
    store = MapStore(5, num_layers=4, num_experts=3, distance=2)
    stored = _maps([0, 0, 1, 1], [2, 2, 0, 0])
    embeddings = np.zeros((2, 12), np.float32)
    embeddings[0, 0] = embeddings[1, 1] = 1
    store.insert(embeddings, stored)
    found = store.search(embeddings[:1], _maps([2, 2, 1, 1]))
    assert found.shares[0].argmax(axis=1).tolist() == [0, 0, 0, 0]
    assert found.score[0].tolist() == pytest.approx([1, 1, 1, 1])
    half = store.search(embeddings[:1], _maps([2, 1, 1, 1])).score[0]
    assert half.tolist() == pytest.approx([1, 1, 1, 0.5]), (
        "layer 2 knows layer 0, layer 3 knows layers 0 and 1, of which one agrees"
    )


def test_what_is_not_found_has_no_score() -> None:
    """An empty store, and an embedding of zeros, give nothing."""
    store = MapStore(2, num_layers=2, num_experts=3, distance=1)
    assert not store.search(np.zeros((1, 6), np.float32), _maps([0, 1])).score.any()
    store.insert(np.ones((1, 6), np.float32), _maps([0, 1]))
    found = store.search(np.zeros((1, 6), np.float32), _maps([0, 1]))
    assert found.score[0].tolist() == pytest.approx([0, 1]) and not found.shares[0, 0].any()


def test_a_full_store_overwrites_the_redundant() -> None:
    """The new map replaces the entry with the largest weighted likeness; before that, room is
    filled.
    """
    store = MapStore(2, num_layers=2, num_experts=3, distance=1)
    embeddings = np.eye(2, 6, dtype=np.float32)
    store.insert(embeddings, _maps([0, 0], [1, 1]))
    assert store.count == 2
    new = _maps([1, 2])
    store.insert(embeddings[1:], new, store.search(embeddings[1:], new))
    assert store.count == 2
    again = store.search(embeddings[1:], new)
    assert again.trajectory[0].tolist() == pytest.approx([0, 1]), (
        "entry 1 is now the new map, entry 0 the old one"
    )


def test_embeddings_are_means_of_the_past() -> None:
    """Per sequence, without the iteration itself."""
    found, _ = embeddings_of(_maps([0], [1], [2], [2]), np.array([0, 1, 0, 0]))
    assert found.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0.5, 0, 0.5]]


@given(
    num_maps=st.integers(1, 90),
    dimension=st.sampled_from([1, 12, 700]),
    capacity=st.sampled_from([1, 20, 600]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
def test_what_is_found_does_not_depend_on_how_many_come_together(
    num_maps: int, dimension: int, capacity: int, seed: int
) -> None:
    """To the last digit, however the iterations are divided: each finds what it finds alone."""
    generator = np.random.default_rng(seed)
    maps = generator.dirichlet(np.ones(3), (num_maps, 4)).astype(np.float32)
    embeddings = generator.standard_normal((num_maps, dimension)).astype(np.float32)
    borders = np.unique(np.append(generator.integers(0, num_maps, 20), [0, num_maps]))
    together, apart = (
        MapStore(capacity, num_layers=4, num_experts=3, distance=1, dimension=dimension)
        for _ in range(2)
    )
    found = together.replay(embeddings, maps, borders)
    for first, last in itertools.pairwise(borders.tolist()):
        part = slice(first, last)
        only = apart.replay(embeddings[part], maps[part], np.array([0, last - first]))
        for one, other in zip([next(found)], only, strict=True):
            assert (one.semantic == other.semantic).all()
            assert (one.score == other.score).all() and (one.shares == other.shares).all()


def test_the_least_worthy_leaves() -> None:
    """The largest 1 / (p · visits): of held experts with p and visits as below, expert 1 of layer
    1, then expert 0 of layer 0.
    """
    slots = np.zeros((2, 2), SLOT)
    slots["status"], slots["copy"], slots["last_use"], slots["pinned_at"] = HELD, NONE, NONE, NONE
    slots["visits"] = [[1, 4], [9, 2]]
    forecast = np.zeros((2, 2, 2), np.float32)
    forecast[0], forecast[1, 0] = (
        [[0.9, 0.9], [0.8, 0.1]],
        [0.3, 0.7],
    )  # layer 1 is beyond reach of a gate in layer 0: row 0 counts
    counters = np.zeros(NUM_COUNTERS, np.int64)
    counters[REACH] = 0
    nothing = np.zeros((0, 0, 0), np.float32)
    cached = Cached(
        slots=slots,
        scores=np.zeros(slots.shape),
        free=np.zeros(3, np.int64),
        coming=np.zeros(4, np.int64),
        counters=counters,
        forecast=forecast,
        gates=nothing,
        next_use=np.zeros((0, 0, 0), np.int32),
        **held_of(slots, is_global=True),
        rules=_rules(Score.FORECAST_TIMES_VISITS, is_global=True),
    )
    layers = np.zeros(2, LAYER)
    now = Moment(pass_index=0, layer=0, stamp=1)
    left = [take_slot(cached, now, 0, 0, layers)[2:] for _ in range(5)]
    assert left == [(1, 1), (0, 0), (0, 1), (1, 0), (NONE, NONE)]


@given(
    score=st.sampled_from(
        [
            Score.RECENCY,
            Score.FREQUENCY,
            Score.NEXT_USE,
            Score.FORECAST_TIMES_VISITS,
            Score.FORECAST_BY_DEPTH,
        ]
    ),
    is_global=st.booleans(),
    num_layers=st.sampled_from([4, 2 * LAYERS_PER_BLOCK + 3]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=20)
def test_who_leaves_is_looked_for_anew_where_something_changed(
    score: Score, is_global: bool, num_layers: int, seed: int
) -> None:
    """Evictions, runs, arrivals and pins at gates of several passes: each eviction is what a search
    of all slots gives.
    """
    generator, num_passes, num_experts, num_left = (
        np.random.default_rng(seed),
        12,
        6,
        0,
    )
    cached, layers = (
        _random_cache(
            generator, (num_passes, num_layers, num_experts), _rules(score, is_global=is_global)
        ),
        np.zeros(num_layers, LAYER),
    )
    slots = cached.slots
    for index, current in np.ndindex(num_passes, num_layers):
        stamp = index * num_layers + current
        now = Moment(pass_index=index, layer=current, stamp=stamp)
        for layer, expert in zip(
            *np.nonzero((slots["status"] == COMING) & (generator.random(slots.shape) < 0.5)),
            strict=True,
        ):
            hold(cached, layer, expert)
        forget(cached, current)
        asked = np.flatnonzero(generator.random(num_experts) < 0.4)
        slots["pinned_at"][current, asked] = stamp
        note_gate(cached, now, asked, np.ones(num_experts, np.int32))
        ahead = (current + 1) % num_layers
        if generator.random() < 0.5:
            slots["pinned_at"][ahead, generator.integers(num_experts)] = stamp
            forget(cached, ahead)
        for layer in (current, current, ahead, ahead):
            absent = np.flatnonzero(slots["status"][layer] == ABSENT)
            if not len(absent):
                continue
            copied = Cached(*(array.copy() for array in cached))
            copied.known["stamp"], copied.known["is_lasting"] = NONE, 0
            copied.blocks["stamp"], copied.blocks["is_lasting"] = NONE, 0
            taken = now, layer, absent[0], layers
            found = take_slot(cached, *taken)
            assert found == take_slot(copied, *taken)
            num_left += found[0]
            if found[0] and layer == current:  # fetched, for this gate
                slots["pinned_at"][layer, absent[0]], slots["used_at"][layer, absent[0]] = (
                    stamp,
                    NONE,
                )
                hold(cached, layer, absent[0])
            elif found[0]:
                slots["status"][layer, absent[0]], slots["is_unused"][layer, absent[0]] = COMING, 1
            for expert in np.flatnonzero(
                (slots["pinned_at"][current] == stamp) & (slots["used_at"][current] != stamp)
            ):
                if generator.random() < 0.3:
                    slots["is_unused"][current, expert] = 0
                    note_run(cached, now, expert)
    assert num_left > 0


def _rules(score: Score, *, is_global: bool) -> NDArray[np.void]:
    """Rules of a cache with that score."""
    rules = np.zeros(1, CACHE_RULES)
    rules["score"], rules["is_global"] = int(score), is_global
    rules["alpha"], rules["kept"] = 0.5, 2
    return rules


def _random_cache(
    generator: np.random.Generator, shape: tuple[int, int, int], rules: NDArray[np.void]
) -> Cached:
    """Two thirds of all experts held, forecasts two layers ahead, next uses as of random choices."""
    num_passes, num_layers, num_experts = shape
    slots = np.zeros((num_layers, num_experts), SLOT)
    for name in ("copy", "last_use", "pinned_at", "used_at"):
        slots[name] = NONE
    slots["status"][:, : 2 * num_experts // 3] = HELD
    counters = np.zeros(NUM_COUNTERS, np.int64)
    counters[REACH] = 2
    return Cached(
        slots=slots,
        scores=np.zeros(slots.shape),
        free=np.zeros(num_layers + 1, np.int64),
        coming=np.zeros(slots.size, np.int64),
        counters=counters,
        forecast=generator.integers(1, 4, (num_passes + 1, *slots.shape)).astype(np.float32),
        gates=np.zeros((0, 0, 0), np.float32),
        next_use=next_uses((generator.random((num_passes, *slots.shape)) < 0.3).astype(np.int32)),
        **held_of(slots, is_global=bool(rules[0]["is_global"])),
        rules=rules,
    )


def test_maps_are_choices_or_weights() -> None:
    """Without gate weights, shares of the choices; with them, the weights, and the rest by
    popularity over the others.
    """
    ids = np.array([[[[0, 1]], [[1, 2]], [[1, 0]]]], np.int16)
    passes, popularity = (
        forward_passes(Batch(prompt_tokens=2, output_tokens=2), Feeding()),
        np.array([[0.4, 0.3, 0.2, 0.1]]),
    )
    counted = expert_maps(Draw(ids=ids, weights=None), passes, popularity)
    assert counted.shares[:, 0].tolist() == pytest.approx(
        np.array([[0.25, 0.5, 0.25, 0], [0.5, 0.5, 0, 0]])
    )
    weights = np.full(ids.shape, 0.35, np.float32)
    weighed = expert_maps(Draw(ids=ids, weights=weights), passes, popularity)
    assert weighed.shares[1, 0].tolist() == pytest.approx([0.35, 0.35, 0.2, 0.1])
    assert weighed.shares.sum(axis=2) == pytest.approx(1.0)


def test_gate_shares_are_means_over_a_pass() -> None:
    """Of beams and prompts alike: they sum to 1 in every MoE layer, and are the token shares where
    only choices are known.
    """
    foresight = foresight_of(
        scenario_of("fmoe", Batch(prompt_tokens=5, output_tokens=4, batch_size=2, beams=2))
    )
    shares = gate_shares(foresight)
    assert shares == pytest.approx(
        foresight.tokens / foresight.tokens.sum(axis=2, keepdims=True), abs=1e-6
    )
    assert len(maps_of(foresight).shares) == foresight.passes.num_sequences.sum()


def _recorded(num_tokens: int) -> tuple[RecordedRouting, Model]:
    generator = np.random.default_rng(0)
    ids = np.stack(
        [[generator.permutation(8)[:2] for _ in range(4)] for _ in range(num_tokens)]
    ).astype(np.int16)
    return RecordedRouting(name="made", expert_ids=ids, num_experts=8), small_model(num_layers=4)


@pytest.mark.parametrize(("num_tokens", "num_left"), [(200, 9), (45, 1), (30, 0)])
def test_a_recording_does_not_foretell_itself(num_tokens: int, num_left: int) -> None:
    """The store comes from tokens that are not replayed; where none are left, it starts empty."""
    routing, model = _recorded(num_tokens)
    used = routing.experts(model, 1, 20, 0)[0]
    other = routing.other_requests(model, 50, 20, 0, used=(1, 20)).ids
    assert len(other) == num_left
    tokens = {tuple(ids.ravel().tolist()) for ids in used}
    assert not any(tuple(ids.ravel().tolist()) in tokens for request in other for ids in request)


def test_a_recording_that_is_used_up_leaves_an_empty_store() -> None:
    """The first passes then find nothing; later ones find the run's own."""
    routing, model = _recorded(19)
    foresight = foresight_of(
        replace(
            scenario_of("fmoe", Batch(prompt_tokens=10, output_tokens=10)),
            routing=routing,
            model=model,
        )
    )
    prefetch = ExpertMapPrefetch()
    assert prefetch.filled(foresight).count == 0
    found = prefetch.predict(foresight)
    assert found.first[4] == 0 < found.first[-1]


def test_a_store_that_has_seen_it_all_foretells_it() -> None:
    """Where every token routes alike, fMoE names exactly the experts that are selected, layer by
    layer, from the first pass's gates on.
    """
    model = small_model(num_layers=6)
    ids = np.tile(np.array([[(layer, layer + 1) for layer in range(6)]], np.int16), (400, 1, 1))
    routing = RecordedRouting(name="constant", expert_ids=ids, num_experts=8)
    scenario = replace(
        scenario_of("fmoe", Batch(prompt_tokens=1, output_tokens=20)), model=model, routing=routing
    )
    foresight = foresight_of(scenario)
    found = ExpertMapPrefetch(distance=2).predict(foresight).candidates
    assert set(zip(found["layer"].tolist(), found["expert"].tolist(), strict=True)) == {
        (n, e) for n in range(6) for e in (n, n + 1)
    }
    assert found["priority"].min() == 500_000 and found["priority"].max() == 750_000, (
        "share 1/2, one layer ahead or two"
    )


def test_filling_at_once_is_inserting_one_by_one() -> None:
    """Far more maps than there is room for: the store ends the same, whether likeness is computed
    together or for each.
    """
    generator = np.random.default_rng(5)
    maps = generator.random((150, 4, 3), dtype=np.float32)
    embeddings = generator.random((150, 6), dtype=np.float32)
    at_once, one_by_one = (
        MapStore(20, num_layers=4, num_experts=3, distance=1, dimension=6) for _ in range(2)
    )
    at_once.fill(embeddings, maps)
    for number in range(len(maps)):
        own = slice(number, number + 1)
        one_by_one.insert(embeddings[own], maps[own], one_by_one.search(embeddings[own], maps[own]))
    found, expected = (
        at_once.search(embeddings[:9], maps[:9]),
        one_by_one.search(embeddings[:9], maps[:9]),
    )
    assert found.trajectory == pytest.approx(expected.trajectory, abs=1e-5)
    assert found.semantic == pytest.approx(expected.semantic, abs=1e-5)


def test_the_first_layers_are_named_before_the_first_gate() -> None:
    """Where a routing gives embeddings, the search by them names experts for layers 0 to d - 1 when
    the first pass starts.
    """
    model = small_model(num_layers=4)
    routing = structured_routing(model)
    foresight = foresight_of(
        replace(
            scenario_of("fmoe", Batch(prompt_tokens=4, output_tokens=20)),
            model=model,
            routing=routing,
        )
    )
    found = ExpertMapPrefetch(distance=2).predict(foresight)
    first = foresight.tokens.shape[0] * foresight.tokens.shape[1]
    named = found.candidates["layer"][found.first[first] : found.first[first + 1]]
    assert set(named.tolist()) == {0, 1}
    at_once = scenario_of("fmoe", Batch(prompt_tokens=4, output_tokens=20), lookup_ns="0")
    run = simulate(replace(at_once, model=model, routing=routing))
    assert isinstance(run, Run)
    ahead = (run.timeline.tasks.kind == TaskKind.PREFETCH) & (run.timeline.tasks.layer < 2)
    assert (
        run.timeline.start_ns[ahead].min()
        < run.timeline.end_ns[run.timeline.tasks.kind == TaskKind.GATE].min()
    )
