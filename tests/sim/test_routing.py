"""Which experts tokens select: distributions, determinism, replay of recordings, and what is
refused.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, Kind
from sim.model.library import load_model
from sim.policies import find_policy
from sim.routing import (
    GeneratedRouting,
    RecordedRouting,
    load_routing,
    load_trace,
    tokens_per_expert,
    uniform,
)
from sim.routing.generated import UNIFORM
from sim.routing.successive import choose
from sim.step.simulate import Scenario, draw
from sim.workload.batch import Batch, Feeding, forward_passes
from tests.shared_data import shared_data
from tests.sim.small import MODELS, small_machine, small_model

FIVE_SIGMA = 5.0
WEIGHTS = (5.0, 3.0, 1.0, 1.0)


def _generated(weights: tuple[float, ...], kept: float = 0.0, layers: int = 1) -> GeneratedRouting:
    return GeneratedRouting(
        label="test", stated_provenance=UNIFORM, weights=(weights,) * layers, kept=((0.0, kept),)
    )


def _model(num_experts: int, top_k: int, num_layers: int = 1):  # type: ignore[no-untyped-def]
    return small_model(num_layers=num_layers, num_experts=num_experts, top_k=top_k)


def _assert_frequencies(found: np.ndarray, expected: np.ndarray) -> None:
    """Counts agree with probabilities within five standard deviations each."""
    total = found.sum()
    spread = np.sqrt(total * expected * (1 - expected))
    assert (np.abs(found - total * expected) <= FIVE_SIGMA * spread + 1e-9).all(), (
        found / total,
        expected,
    )


def test_first_choices_follow_the_popularity() -> None:
    """The first of a token's choices is drawn in proportion to the weights."""
    ids = _generated(WEIGHTS).experts(_model(4, 2), 1, 40_000, seed=2)
    _assert_frequencies(np.bincount(ids[0, :, 0, 0], minlength=4), np.array(WEIGHTS) / 10)


def test_pairs_are_drawn_by_successive_sampling() -> None:
    """The second choice is drawn from what is left: P(i, j) = p_i · p_j / (1 - p_i)."""
    ids = _generated(WEIGHTS).experts(_model(4, 2), 1, 40_000, seed=3)[0, :, 0].astype(int)
    share = np.array(WEIGHTS) / 10
    expected = share[:, None] * share[None, :] / (1 - share[:, None])
    np.fill_diagonal(expected, 0.0)
    assert expected.sum() == pytest.approx(1.0)
    _assert_frequencies(np.bincount(ids[:, 0] * 4 + ids[:, 1], minlength=16), expected.ravel())


def _counted(popularity: np.ndarray, taken: list[int], draw: np.float32) -> int:
    """The expert at which what is left of the popularity, summed up, exceeds the draw's share of
    it.
    """
    left = np.float64(1.0)
    for expert in taken:
        left -= popularity[expert]
    target, found = draw * left, -1
    for expert in range(len(popularity)):
        if expert not in taken:
            if popularity[expert] > 0 or found < 0:
                found = expert
            target -= popularity[expert]
            if target < 0:
                break
    return found


def test_uniform_selects_all_alike() -> None:
    """Every expert of every layer within five standard deviations of the mean."""
    model = _model(8, 2, num_layers=2)
    ids = uniform().experts(model, 1, 20_000, seed=5)
    for layer in range(2):
        assert np.abs(
            np.bincount(ids[0, :, layer].ravel(), minlength=8) - 5_000
        ).max() < FIVE_SIGMA * np.sqrt(20_000 * 0.25 * 0.75)


@pytest.mark.parametrize(
    ("layer", "published"), [(0, (0.140, 0.144)), (15, (0.279, 0.236)), (31, (0.227, 0.253))]
)
def test_mixtral_repeats_first_choices_as_published(
    layer: int, published: tuple[float, float]
) -> None:
    """Share of first choices that repeat the token before's: the mean of ArXiv and Wikipedia of
    arXiv 2401.04088, table 5.
    """
    model = load_model("mixtral-8x7b")
    first = load_routing(None, model).experts(model, 1, 30_000, seed=6)[0, :, layer, 0]
    repeats = float((first[1:] == first[:-1]).mean())
    target = sum(published) / 2
    assert repeats == pytest.approx(
        target, abs=FIVE_SIGMA * np.sqrt(target * (1 - target) / 30_000) + 0.001
    )


def test_a_spec_with_popularity_keeps_the_stated_repeats(tmp_path: Path) -> None:
    """Repeats by chance are more where the popularity is skewed, and what is kept makes up for the
    rest.
    """
    path = _spec(
        tmp_path, popularity="[[5, 3, 1, 1]]", first_choice_repeat="[[0.0, 0.5], [1.0, 0.5]]"
    )
    first = load_routing(str(path), _model(4, 2)).experts(_model(4, 2), 1, 30_000, seed=7)[
        0, :, 0, 0
    ]
    assert float((first[1:] == first[:-1]).mean()) == pytest.approx(0.5, abs=0.02)
    _assert_frequencies(np.bincount(first[::40], minlength=4), np.array(WEIGHTS) / 10)


def test_beams_of_a_prompt_share_its_experts() -> None:
    """Three beams of one replicated prompt: all prefill counts are threefold those of the prompt
    alone.
    """
    scenario = Scenario(
        machine=small_machine(),
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=9, output_tokens=2, beams=3),
        policy=find_policy("fiddler"),
        routing=uniform(),
    )
    counts = draw(scenario, Feeding(replicates_prompt=True)).tokens
    single = draw(scenario, Feeding()).tokens
    assert (counts[0] == 3 * single[0]).all()


def test_a_trace_may_leave_the_last_experts_out() -> None:
    """Experts that a short recording never selects have popularity 0."""
    trace = RecordedRouting(name="t", expert_ids=np.array([[[0, 1]]], np.int16), num_experts=2)
    assert trace.popularity(_model(8, 2)).tolist() == [[0.5, 0.5, 0, 0, 0, 0, 0, 0]]


def test_a_recorded_trace_fits_its_model() -> None:
    """DeepSeek-V2-Lite's recording: replayed as it is but for the order of ranks, whatever the
    seed.
    """
    path = shared_data("routing/deepseek-v2-lite-intent.npz")
    model = load_model("deepseek-v2-lite")
    trace = load_routing(str(path), model)
    assert (
        np.sort(trace.experts(model, 1, 100, 0)[0]) == np.sort(np.load(path)["expert_ids"][:100])
    ).all()
    assert np.allclose(trace.popularity(model).sum(axis=1), 1.0)


def test_recorded_counts_are_a_popularity() -> None:
    """Fiddler's counts for Mixtral: shares of every layer sum to 1 and the provenance says
    measured.
    """
    routing = load_routing(
        f"popularity:{shared_data('routing/mixtral-8x7b-popularity.json')}",
        load_model("mixtral-8x7b"),
    )
    share = routing.popularity(load_model("mixtral-8x7b"))
    assert (
        share.shape == (32, 8)
        and np.allclose(share.sum(axis=1), 1.0)
        and routing.provenance.kind is Kind.MEASURED
    )


@pytest.mark.parametrize("shape", [(2, 2), (1, 1)])
def test_a_misfit_trace_says_what_both_are(shape: tuple[int, int]) -> None:
    """Layers, top-k and expert numbers of the trace and of the model."""
    trace = RecordedRouting(name="t", expert_ids=np.zeros((3, *shape), np.int16), num_experts=1)
    with pytest.raises(
        InputError,
        match=rf"t: trace of {shape[0]} MoE layers, top-{shape[1]}, .* does not fit small \(1 MoE",
    ):
        trace.experts(_model(4, 2), 1, 1, 0)
    with pytest.raises(InputError, match="expert ids below 9 does not fit"):
        RecordedRouting(
            name="t", expert_ids=np.zeros((3, 1, 2), np.int16), num_experts=9
        ).popularity(_model(4, 2))


TRACES = {
    "another array": ({"ids": np.zeros((1, 1, 2), int)}, "no array expert_ids"),
    "two axes": (
        {"expert_ids": np.zeros((1, 2), int)},
        r"must be integers \[token, MoE layer, rank\], got int64 \(1, 2\)",
    ),
    "fractions": ({"expert_ids": np.zeros((1, 1, 2))}, "must be integers"),
    "empty": ({"expert_ids": np.zeros((0, 1, 2), int)}, "must be integers"),
    "negative": ({"expert_ids": np.array([[[0, -1]]])}, "between 0 and 32767, got -1 to 0"),
    "too large": ({"expert_ids": np.array([[[0, 70_000]]])}, "between 0 and 32767, got 0 to 70000"),
    "repeated": ({"expert_ids": np.array([[[1, 1]]])}, "selects an expert twice"),
    "pickled": (
        {"expert_ids": np.array([[[object()]]], dtype=object)},
        "not a readable .npz trace",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), TRACES.values(), ids=TRACES)
def test_a_wrong_trace_is_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    """What the archive lacks or holds instead."""
    np.savez(tmp_path / "t.npz", **arrays)  # type: ignore[arg-type]
    _refused(lambda: load_trace(tmp_path / "t.npz"), message)


def test_a_damaged_trace_is_one_line(tmp_path: Path) -> None:
    """Not an archive at all, an empty file, and none."""
    for content in (b"", b"not an archive", b"PK\x03\x04 cut off"):
        (tmp_path / "t.npz").write_bytes(content)
        _refused(lambda: load_trace(tmp_path / "t.npz"), "not a readable .npz trace")
    _refused(lambda: load_routing(str(tmp_path / "none.npz"), _model(4, 2)), "no routing trace")


COUNTS = {
    "no JSON": ("{", "broken JSON"),
    "not text": (b"\xff\xfe\x00", "not a text file"),
    "a list": ("[1]", "must be a mapping|is a JSON object|got list|JSON object"),
    "no key": ("{}", "key counts_layer_expert must hold"),
    "ragged": ('{"counts_layer_expert": [[1, 2], [1]]}', "equally long"),
    "words": ('{"counts_layer_expert": [["a", "b"]]}', "key counts_layer_expert must hold"),
    "negative": (
        '{"counts_layer_expert": [[1, -2, 3, 4]]}',
        "counts of at least 0, with a positive sum",
    ),
    "all zero": ('{"counts_layer_expert": [[0, 0, 0, 0]]}', "with a positive sum in every layer"),
    "not finite": ('{"counts_layer_expert": [[1, NaN, 3, 4]]}', "NaN"),
    "beyond floating point": ('{"counts_layer_expert": [[1' + "0" * 400 + ", 2, 3, 4]]}", "digits"),
    "infinite sum": ('{"counts_layer_expert": [[1e308, 1e308, 1, 1]]}', "counts of at least 0"),
    "another shape": (
        '{"counts_layer_expert": [[1, 2]]}',
        "counts are 1 layers x 2 experts, small has 1 x 4",
    ),
}


@pytest.mark.parametrize(("content", "message"), COUNTS.values(), ids=COUNTS)
def test_a_wrong_popularity_file_is_one_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    """What the file holds and what would be right."""
    path = tmp_path / "counts.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    _refused(
        lambda: load_routing(f"popularity:{path}", _model(4, 2)).popularity(_model(4, 2)), message
    )


def test_an_absent_popularity_file_is_one_line(tmp_path: Path) -> None:
    """A missing file and a folder."""
    _refused(
        lambda: load_routing(f"popularity:{tmp_path}/none.json", _model(4, 2)),
        "cannot read popularity file",
    )
    _refused(
        lambda: load_routing(f"popularity:{tmp_path}", _model(4, 2)), "cannot read popularity file"
    )


SPECS = {
    "unknown key": ({"popularitty": "[[1, 1, 1, 1]]"}, "unknown key popularitty"),
    "ragged": ({"popularity": "[[1, 1, 1, 1], [1]]"}, "popularity of MoE layer 1 must be 4 shares"),
    "negative share": ({"popularity": "[[1, 1, 1, -1]]"}, "must be at least 0"),
    "no share": ({"popularity": "[[0, 0, 0, 0]]"}, "with a positive sum"),
    "positions fall": ({"first_choice_repeat": "[[1.0, 0.2], [0.0, 0.3]]"}, "must rise strictly"),
    "repeat above one": ({"first_choice_repeat": "[[0.0, 1.5]]"}, "must be at most 1.0, got 1.5"),
    "another model": (
        {"num_experts": "64"},
        "statistics of 64 experts do not fit small, which has 4",
    ),
    "another format": ({"format": "rosin-routing/9"}, "rosin-routing/1"),
}


@pytest.mark.parametrize(("changes", "message"), SPECS.values(), ids=SPECS)
def test_a_wrong_specification_is_one_line(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    """The key, and what would be right."""
    _refused(lambda: load_routing(str(_spec(tmp_path, **changes)), _model(4, 2)), message)


def test_an_unknown_kind_of_routing_is_one_line() -> None:
    """The forms that --routing takes."""
    _refused(
        lambda: load_routing("zipf", _model(4, 2)),
        "write uniform, popularity:FILE, a .yaml of statistics, a .npz trace, or mixtral-8x7b, mixtral-8x7b-gates, ",
    )


def _spec(folder: Path, **changes: str) -> Path:
    keys = {
        "format": "rosin-routing/1",
        "name": "test",
        "num_experts": "4",
        "kind": "assumed",
        "source": "test",
        "date": "2026",
    } | changes
    path = folder / "spec.yaml"
    path.write_text(
        "".join(
            f"{key}: {json.dumps(value) if key == 'date' else value}\n"
            for key, value in keys.items()
        )
    )
    return path


def _refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


SHAPES = st.integers(1, 40).flatmap(
    lambda num_experts: st.tuples(st.just(num_experts), st.integers(1, min(8, num_experts)))
)
SEEDS = st.integers(0, 10**6)


def _weights(num_experts: int) -> st.SearchStrategy[tuple[float, ...]]:
    """Even, uneven, and some of them none at all."""
    weight = st.just(1.0) | st.just(0.0) | st.floats(1e-9, 1e3)
    rows = st.lists(weight, min_size=num_experts, max_size=num_experts).map(tuple)
    return rows.filter(lambda row: sum(row) > 0)


@given(data=st.data(), shape=SHAPES, kept=st.sampled_from([0.0, 0.4, 1.0]), seed=SEEDS)
@settings(max_examples=50)
def test_draws_are_those_of_counting_expert_by_expert(
    data: st.DataObject, shape: tuple[int, int], kept: float, seed: int
) -> None:
    """Every choice is that of subtracting popularities one by one, whatever rounding does; so a
    token selects distinct experts, those without weight last.
    """
    num_experts, top_k = shape
    weights = data.draw(_weights(num_experts))
    model, routing = _model(num_experts, top_k, num_layers=2), _generated(weights, kept, layers=2)
    found = routing.experts(model, 1, 12, seed=seed)[0]
    generator = np.random.default_rng(seed)
    draws = generator.random(found.shape, dtype=np.float32)
    keeps = (
        generator.random(found.shape, dtype=np.float32)
        if kept
        else np.ones(found.shape, np.float32)
    )
    popularity = routing.popularity(model)
    for token, layer in np.ndindex(*found.shape[:2]):
        chosen: list[int] = []
        for rank in range(top_k):
            before = int(found[token - 1, layer, rank])
            is_kept = token > 0 and keeps[token, layer, rank] < kept and before not in chosen
            chosen.append(
                before
                if is_kept
                else _counted(popularity[layer], chosen, draws[token, layer, rank])
            )
        assert found[token, layer].tolist() == chosen
        assert len(set(chosen)) == top_k


@given(shape=SHAPES, seed=SEEDS)
@settings(max_examples=50)
def test_draws_between_two_experts_are_counted(shape: tuple[int, int], seed: int) -> None:
    """Of experts alike, with random numbers where one expert ends and the next begins, all choices
    are still those of subtracting.
    """
    num_experts, top_k = shape
    drawn = (20, 1, top_k)
    draws = (np.random.default_rng(seed).integers(0, 32, drawn) / 32).astype(np.float32)
    popularity, found = np.full((1, num_experts), 1.0 / num_experts), np.empty(drawn, np.int16)
    choose(popularity, np.zeros(1), draws, draws[:, :, :0], found)
    for token in range(drawn[0]):
        chosen: list[int] = []
        for rank in range(top_k):
            chosen.append(_counted(popularity[0], chosen, draws[token, 0, rank]))
        assert found[token, 0].tolist() == chosen


@given(shape=SHAPES, seed=SEEDS, num_sequences=st.integers(1, 3), num_tokens=st.integers(1, 30))
@settings(max_examples=50)
def test_the_seed_decides(
    shape: tuple[int, int], seed: int, num_sequences: int, num_tokens: int
) -> None:
    """Equal seeds give equal choices, and a longer run of one sequence starts with the shorter."""
    model = _model(*shape, num_layers=2)
    first, again = (uniform().experts(model, num_sequences, num_tokens, seed) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == (num_sequences, num_tokens, 2, shape[1])
    passes = forward_passes(
        Batch(prompt_tokens=num_tokens, output_tokens=1, batch_size=num_sequences), Feeding()
    )
    counted = tokens_per_expert(model, first, passes)
    assert (counted.sum(axis=2) == num_sequences * num_tokens * shape[1]).all()
    assert counted.max() <= num_sequences * num_tokens


def test_other_seeds_and_sequences_select_others() -> None:
    """Of 50 tokens in two layers, some."""
    model = MODELS["dense-first-and-shared"]
    first, other = (uniform().experts(model, 2, 50, seed) for seed in (1, 2))
    assert (first != other).any() and (first[0] != first[1]).any()
