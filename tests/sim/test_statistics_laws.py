"""Laws of what is read off recorded choices: shares, entropies, reuse, and caches replayed."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.routing.recurrence import distinct_experts, next_layer_recall, pair_counts, reuse
from sim.routing.replay import CachePolicy, hit_rates
from sim.routing.statistics import entropy, inclusion

EXPERTS = 6
ORDERS = st.permutations(range(EXPERTS)).map(lambda order: order[:2])
CHOICES = st.lists(st.tuples(ORDERS, ORDERS), min_size=1, max_size=40).map(
    lambda tokens: np.array(tokens, np.int16)
)
"""Choices [token, layer, rank] of six experts in two layers."""


@given(CHOICES)
@settings(max_examples=60)
def test_shares_and_entropy(ids: np.ndarray) -> None:
    """As many experts a token as are selected; entropy is 0 for one expert alone and 1 for all alike,
    whatever they are called.
    """
    shares = inclusion(ids, EXPERTS)
    assert np.allclose(shares.sum(axis=1), 2)
    assert ((shares >= 0) & (shares <= 1)).all()
    found = entropy(shares / 2)
    assert ((found >= -1e-12) & (found <= 1 + 1e-12)).all()
    assert np.allclose(entropy(shares[:, ::-1] / 2), found)
    assert np.allclose(entropy(np.full((1, EXPERTS), 1 / EXPERTS)), 1)


@given(CHOICES, st.integers(1, EXPERTS), st.sampled_from(list(CachePolicy)))
@settings(max_examples=60)
def test_caches_hit_no_more_than_foresight_and_a_whole_cache(
    ids: np.ndarray, slots: int, policy: CachePolicy
) -> None:
    """Belady hits most; a larger LRU or Belady hits no less; with room for all only first uses miss."""
    found = hit_rates(ids, EXPERTS, slots, policy)
    assert (found <= hit_rates(ids, EXPERTS, slots, CachePolicy.BELADY) + 1e-12).all()
    if slots < EXPERTS and policy is CachePolicy.BELADY:
        assert (hit_rates(ids, EXPERTS, slots + 1, policy) >= found - 1e-12).all()
    if slots == EXPERTS:
        first = [len(np.unique(ids[:, layer])) for layer in range(2)]
        assert np.allclose(found, 1 - np.array(first) / (2 * len(ids)))


@given(CHOICES, st.integers(2, EXPERTS))
@settings(max_examples=60)
def test_ranks_are_no_matter_to_a_cache(ids: np.ndarray, slots: int) -> None:
    """A token's experts may stand in any order."""
    for policy in CachePolicy:
        turned = hit_rates(ids[:, :, ::-1], EXPERTS, slots, policy)
        assert np.array_equal(turned, hit_rates(ids, EXPERTS, slots, policy))


@given(CHOICES, st.integers(1, 10), st.data())
@settings(max_examples=60)
def test_reuse_is_counted_within_sequences(ids: np.ndarray, lag: int, data: st.DataObject) -> None:
    """A recount in plain Python of pairs that are so many tokens apart in one sequence."""
    border = data.draw(st.integers(0, len(ids)))
    borders = np.array(sorted({0, border, len(ids)}), np.int64)
    lags = np.array([lag], np.int64)
    shared, pairs = np.zeros(2), 0
    for first, end in pairwise(borders.tolist()):
        for token in range(first + lag, end):
            pairs += 1
            for layer in range(2):
                shared[layer] += len(set(ids[token, layer]) & set(ids[token - lag, layer]))
    assert pair_counts(borders, lags).tolist() == [pairs]
    found = reuse(ids, borders, EXPERTS, lags)[0]
    if pairs:
        assert np.allclose(found, shared / (2 * pairs))
    else:
        assert np.isnan(found).all()


@given(CHOICES, st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=40)
def test_distinct_experts_grow_with_the_batch(ids: np.ndarray, batch: int, seed: int) -> None:
    """Of one token those that it selects, of many no more than there are or than each selects."""
    borders = np.array([0, len(ids)], np.int64)
    found = distinct_experts(
        ids, borders, EXPERTS, batch, np.random.default_rng(seed), num_batches=20
    )
    assert 2 <= found <= min(EXPERTS, 2 * batch)


@given(CHOICES)
@settings(max_examples=40)
def test_recall_is_a_share(ids: np.ndarray) -> None:
    """Between none and all; of layers that are not there it is not a number."""
    borders = np.array([0, len(ids)], np.int64)
    assert np.isnan(next_layer_recall(ids, borders, EXPERTS, 2))
    if len(ids) >= 4:
        assert 0 <= next_layer_recall(ids, borders, EXPERTS, 1) <= 1
