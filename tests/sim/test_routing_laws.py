"""Laws of routing that hold whatever is drawn: distinct experts, popularity as shares, sequences
that begin alike, recordings in order.
"""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.model.library import load_model
from sim.model.model import Model
from sim.routing import LatentRouting, RecordedRouting, Routing, load_routing, tokens_per_expert
from sim.routing.generated import UNIFORM, GeneratedRouting
from sim.workload.batch import Batch, Feeding, forward_passes
from tests.sim.small import MODELS, ODD_MODELS, small_model

SHAPES = st.integers(1, 12).flatmap(
    lambda experts: st.tuples(st.just(experts), st.integers(1, experts))
)
SEEDS = st.integers(0, 2**32)


def _model(shape: tuple[int, int], num_layers: int = 2) -> Model:
    return small_model(num_layers=num_layers, num_experts=shape[0], top_k=shape[1])


@st.composite
def generated(draw: st.DrawFn, num_experts: int, num_layers: int = 2) -> GeneratedRouting:
    """A popularity with a first choice that may be kept."""
    weights = st.lists(st.floats(0, 100), min_size=num_experts, max_size=num_experts)
    rows = tuple(tuple(draw(weights.filter(any))) for _ in range(num_layers))
    kept = draw(st.floats(0, 1))
    return GeneratedRouting(
        label="drawn", stated_provenance=UNIFORM, weights=rows, kept=((0.0, kept),)
    )


@given(SHAPES, SEEDS, st.data())
@settings(max_examples=30)
def test_tokens_choose_different_experts(
    shape: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    """As many as the model selects, each one that it has."""
    routing = data.draw(generated(shape[0]))
    ids = routing.experts(_model(shape), 2, 9, seed)
    assert ids.shape == (2, 9, 2, shape[1])
    assert ids.min() >= 0
    assert ids.max() < shape[0]
    ordered = np.sort(ids, axis=3)
    assert (ordered[..., 1:] > ordered[..., :-1]).all()


@given(SHAPES, st.data())
@settings(max_examples=30)
def test_popularity_is_a_share(shape: tuple[int, int], data: st.DataObject) -> None:
    """Of each layer all experts together have one, none less than nothing, in the order of weights."""
    routing = data.draw(generated(shape[0]))
    shares = routing.popularity(_model(shape))
    assert shares.shape == (2, shape[0])
    assert np.allclose(shares.sum(axis=1), 1.0)
    assert shares.min() >= 0
    for row, weights in zip(shares, routing.weights or (), strict=True):
        order = np.argsort(weights, kind="stable")
        assert (np.diff(row[order]) >= -1e-12).all()


def _begins_alike(routing: Routing, model: Model, tokens: int, more: int, seed: int) -> bool:
    short = routing.experts(model, 1, tokens, seed)
    long = routing.experts(model, 1, tokens + more, seed)
    return np.array_equal(long[:, :tokens], short)


@given(SHAPES, SEEDS, st.integers(1, 20), st.integers(0, 20), st.data())
@settings(max_examples=30)
def test_a_longer_sequence_begins_alike(
    shape: tuple[int, int], seed: int, tokens: int, more: int, data: st.DataObject
) -> None:
    """Whatever the popularity, where every token is drawn anew: what is kept from token to token is
    drawn behind all choices.
    """
    routing = replace(data.draw(generated(shape[0])), kept=((0.0, 0.0),))
    assert _begins_alike(routing, _model(shape), tokens, more, seed)


MIXTRAL = load_model("mixtral-8x7b")
LATENT = load_routing("mixtral-8x7b-gates", MIXTRAL)


@given(SEEDS, st.integers(1, 12), st.integers(0, 12), st.integers(1, 3))
@settings(max_examples=15)
def test_gates_agree_with_choices(seed: int, tokens: int, more: int, sequences: int) -> None:
    """Gates sum to 1; the choices are their largest, in descending order, and carry their weights;
    the whole gate is what a policy sees; more tokens or sequences change no earlier choice.
    """
    assert isinstance(LATENT, LatentRouting)
    draw = LATENT.draw(MIXTRAL, sequences, tokens, seed)
    assert draw.full is not None
    assert draw.weights is not None
    np.testing.assert_allclose(draw.full.sum(axis=3), 1.0, rtol=1e-5)
    order = np.argsort(-draw.full, axis=3, kind="stable")[..., :2]
    assert (order == draw.ids).all()
    assert (draw.weights == np.take_along_axis(draw.full, draw.ids.astype(np.int64), axis=3)).all()
    assert draw.distribution(np.ones((32, 8)) / 8) is draw.full
    longer = LATENT.experts(MIXTRAL, sequences + 1, tokens + more, seed)
    assert np.array_equal(longer[:sequences, :tokens], draw.ids)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[RecordedRouting, np.ndarray]:
    """Some tokens in two layers, top-2 of four experts."""
    orders = st.permutations(range(4)).map(lambda order: order[:2])
    tokens = draw(st.lists(st.tuples(orders, orders), min_size=1, max_size=12))
    ids = np.array(tokens, np.int16)
    return RecordedRouting(name="drawn", expert_ids=ids, num_experts=4), ids


@given(recordings(), SEEDS, st.integers(1, 4), st.integers(1, 30))
@settings(max_examples=30)
def test_a_recording_is_replayed_in_order_and_wraps(
    recording: tuple[RecordedRouting, np.ndarray], seed: int, sequences: int, tokens: int
) -> None:
    """Sequences start evenly spread; after the last token comes the first; its popularity is what is
    counted.
    """
    trace, ids = recording
    model = _model((4, 2))
    replayed = trace.experts(model, sequences, tokens, seed)
    for number, row in enumerate(replayed):
        first = number * len(ids) // sequences
        assert np.array_equal(row, ids[(first + np.arange(tokens)) % len(ids)])
    counted = np.stack([np.bincount(layer.ravel(), minlength=4) for layer in ids.swapaxes(0, 1)])
    assert np.allclose(trace.popularity(model), counted / (2 * len(ids)))


@given(
    st.sampled_from(sorted({**MODELS, **ODD_MODELS})),
    st.builds(
        Batch,
        prompt_tokens=st.integers(1, 12),
        output_tokens=st.integers(1, 4),
        batch_size=st.integers(1, 3),
    ),
    st.none() | st.integers(1, 6),
    SEEDS,
)
@settings(max_examples=40)
def test_tokens_are_counted_by_pass_layer_and_expert(
    name: str, batch: Batch, chunk: int | None, seed: int
) -> None:
    """A recount in plain Python; dense layers stay empty."""
    model = {**MODELS, **ODD_MODELS}[name]
    passes = forward_passes(batch, Feeding(prefill_chunk_tokens=chunk))
    routing = GeneratedRouting(
        label="uniform", stated_provenance=UNIFORM, weights=None, kept=((0.0, 0.0),)
    )
    # A batch of a single token feeds no further one.
    num_tokens = max(batch.context_tokens - 1, 1)
    ids = routing.experts(model, batch.batch_size, num_tokens, seed)
    counts = tokens_per_expert(model, ids, passes)
    expected = np.zeros_like(counts)
    for index in range(len(passes)):
        for position in range(passes.first_position[index], passes.context_tokens[index]):
            for column, layer in enumerate(model.moe_layers):
                chosen = ids[:, position, column].ravel()
                expected[index, layer] += np.bincount(chosen, minlength=counts.shape[2])
    assert np.array_equal(counts, expected)


@given(SHAPES, SEEDS, st.data())
@settings(max_examples=40)
def test_scaled_weights_are_the_same_popularity(
    shape: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    """Counts and shares of them choose alike: only their ratios count."""
    routing = data.draw(generated(shape[0]))
    assert routing.weights is not None
    doubled = GeneratedRouting(
        label="doubled",
        stated_provenance=UNIFORM,
        weights=tuple(tuple(4 * weight for weight in row) for row in routing.weights),
        kept=routing.kept,
    )
    model = _model(shape)
    assert np.array_equal(routing.experts(model, 1, 9, seed), doubled.experts(model, 1, 9, seed))
