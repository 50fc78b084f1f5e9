"""The compiled part of fitted routing: every random number is a hash of what it is for, so no
choice depends on how many are asked.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel, allocating_part, inner

GOLDEN, MIX_1, MIX_2 = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
"""Constants of splitmix64 (Steele, Lea and Flood 2014)."""
LOW_24 = np.uint64((1 << 24) - 1)
SCALE_24 = np.float32(2.0**-24)
REQUEST, CLASS, LINK, GATE, CHOICE, DRIFT = 1, 2, 3, 4, 5, 6
"""What a random number is for."""
# Draws of one choice before the likeliest expert that is left is taken.
MAX_ATTEMPTS = 64


@inner
def hashed(key, a, b):  # type: ignore[no-untyped-def]
    """64 random bits for (key, a, b)."""
    x = key + GOLDEN * (np.uint64(a) + np.uint64(1)) + MIX_1 * np.uint64(b + 1)
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    return x ^ (x >> np.uint64(31))


@allocating_kernel
def sequence_key(seed, sequence):  # type: ignore[no-untyped-def]
    """The key of one sequence."""
    return hashed(hashed(np.uint64(seed), 0, 0), sequence, 0)


@inner
def low(bits):  # type: ignore[no-untyped-def]
    """A number in [0, 1) from the lowest 24 bits."""
    return np.float32(bits & LOW_24) * SCALE_24


@inner
def middle(bits):  # type: ignore[no-untyped-def]
    """A number in [0, 1) from the next 24 bits, independent of ``low``."""
    return np.float32((bits >> np.uint64(24)) & LOW_24) * SCALE_24


@inner
def normal(bits):  # type: ignore[no-untyped-def]
    """A standard normal number (Box and Muller)."""
    # Half a step up, as the logarithm of 0 has no value.
    return np.sqrt(-2.0 * np.log(low(bits) + 0.5 * SCALE_24)) * np.cos(2.0 * np.pi * middle(bits))


@inner
def search(cumulative, target):  # type: ignore[no-untyped-def]
    """The first index whose cumulative sum exceeds the target; the last where none does."""
    first = 0
    length = len(cumulative)
    while length > 1:  # without a branch that a processor could mispredict
        half = length // 2
        first += half * (cumulative[first + half - 1] <= target)
        length -= half
    return first


class ChoiceLaw(NamedTuple):
    """What choices follow: ``weights`` [class, layer, expert] of experts, the spreads [layer] of a
    request's log preferences and of their drift, one in ``drift_tokens`` tokens; and the share
    ``copied`` [layer] of choices that repeat those of a token ``lags`` before, by the cumulative
    ``kernel`` [lag]. The share ``linked`` of random numbers is the same in all layers.
    """

    weights: NDArray[np.float64]
    request_spread: NDArray[np.float64]
    drift_spread: NDArray[np.float64]
    drift_tokens: float
    lags: NDArray[np.int64]
    kernel: NDArray[np.float64]
    copied: NDArray[np.float64]
    linked: float


@allocating_kernel
def choose_sequence(law, classes, key, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [token, layer, rank]: segment by segment, as preferences drift.

    ``classes`` is [token].
    """
    cumulative = np.empty(law.weights.shape, np.float32)
    first = 0
    while first < len(out):
        last = first + 1
        while last < len(out) and low(hashed(key, DRIFT, last)) * law.drift_tokens >= 1.0:
            last += 1
        # Where nothing drifts, all segments share the table of the first, which is dear to fill.
        if first == 0 or law.drift_spread.any():
            _fill_cumulative(law, key, hashed(key, DRIFT, first), cumulative)
        _choose_segment(law, cumulative, classes, key, (first, last), out)
        first = last


@allocating_part
def _fill_cumulative(law, key, segment, out):  # type: ignore[no-untyped-def]
    """Cumulative probabilities [class, layer, expert] with the log preferences of a request and
    segment, the same in all classes.
    """
    weights = law.weights
    request_spread = law.request_spread
    drift_spread = law.drift_spread
    classes, layers, experts = weights.shape
    preferences = np.ones(experts, np.float32)
    for layer in range(layers):
        if request_spread[layer] > 0.0 or drift_spread[layer] > 0.0:
            lasting = hashed(key, REQUEST, layer)
            passing = hashed(segment, REQUEST, layer)
            for expert in range(experts):
                preference = request_spread[layer] * normal(hashed(lasting, expert, 0))
                preferences[expert] = np.exp(
                    preference + drift_spread[layer] * normal(hashed(passing, expert, 0))
                )
        for group in range(classes):
            # Weights are brought to sum to 1 here: preferences change their sum.
            running = np.float32(0.0)
            for expert in range(experts):
                running += weights[group, layer, expert] * preferences[expert]
                out[group, layer, expert] = running
            out[group, layer] /= running


@allocating_kernel
def draw_classes(share, lags, kept, chain, key, num_tokens):  # type: ignore[no-untyped-def]
    """Class of each token: that of the token ``lags[i]`` before, or one that follows the last; all
    but the lags cumulative.
    """
    classes = np.zeros(num_tokens, np.int64)
    for token in range(num_tokens):
        bits = hashed(key, CLASS, token)
        classes[token] = search(chain[classes[token - 1]] if token > 0 else share, middle(bits))
        if len(lags) > 0 and low(bits) < kept[-1]:
            lag = lags[search(kept, low(bits))]
            # A lag before the sequence's beginning leaves the chain's class.
            if lag <= token:
                classes[token] = classes[token - lag]
    return classes


@allocating_part
def _choose_segment(law, cumulative, classes, key, segment, out):  # type: ignore[no-untyped-def]
    """Fill the tokens of a segment, (first, end): copies of an earlier token's choices, or draws,
    without repetition.
    """
    first, last = segment
    linked = law.linked
    lags = law.lags
    kernel = law.kernel
    copied = law.copied
    _, layers, top_k = out.shape
    choice_key = hashed(key, CHOICE, 0)
    for layer in range(layers):
        own_key = hashed(choice_key, layer, 1)
        own_link = hashed(hashed(key, LINK, 0), layer, 1)
        for token in range(first, last):
            for rank in range(top_k):
                number = token * top_k + rank
                source = (
                    choice_key
                    if linked > 0.0 and low(hashed(own_link, number, 0)) < linked
                    else own_key
                )
                # -1 stands for no expert yet: numba types a local once, so None cannot.
                expert = np.int64(-1)
                attempt = 0
                while expert < 0 and attempt < MAX_ATTEMPTS:
                    bits = hashed(source, number, attempt)
                    if low(bits) < copied[layer]:
                        lag = lags[search(kernel, middle(bits))]
                        if lag <= token:
                            expert = np.int64(
                                out[
                                    token - lag,
                                    layer,
                                    # The highest 16 bits, used for nothing else, as a rank: a
                                    # product and a shift, without a remainder.
                                    ((bits >> np.uint64(48)) * np.uint64(top_k)) >> np.uint64(16),
                                ]
                            )
                        # A draw after all: the lag has used those bits.
                        bits = hashed(source, number, MAX_ATTEMPTS + attempt)
                    if expert < 0:
                        expert = search(cumulative[classes[token], layer], middle(bits))
                    # Drawn again: a token selects an expert once.
                    for earlier in range(rank):
                        if out[token, layer, earlier] == expert:
                            expert = np.int64(-1)
                            break
                    attempt += 1
                out[token, layer, rank] = (
                    expert
                    if expert >= 0
                    else _likeliest(cumulative[classes[token], layer], out[token, layer, :rank])
                )


@allocating_part
def _likeliest(cumulative, taken):  # type: ignore[no-untyped-def]
    """The likeliest expert that is not taken: what is left when nearly all the probability is."""
    best = -1
    most = -1.0
    before = 0.0
    for expert in range(len(cumulative)):
        share = cumulative[expert] - before
        before = cumulative[expert]
        is_taken = False
        for other in taken:
            is_taken = is_taken or other == expert
        if share > most and not is_taken:
            best = expert
            most = share
    return best


@allocating_kernel
def fill_gate_weights(log_mean, log_spread, correlation, key, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [token, layer, rank] with gate weights, descending by rank, summing to at most
    1.
    """
    tokens, layers, top_k = out.shape
    shared = np.sqrt(correlation)
    own = np.sqrt(1.0 - correlation)
    gate_key = hashed(key, GATE, 0)
    for layer in range(layers):
        layer_key = hashed(gate_key, layer, 1)
        for token in range(tokens):
            common = normal(hashed(layer_key, token, 0))
            total = 0.0
            for rank in range(top_k):
                value = np.exp(
                    log_mean[layer, rank]
                    + log_spread[layer, rank]
                    * (shared * common + own * normal(hashed(layer_key, token, rank + 1)))
                )
                total += value
                place = rank
                # Put in order as they come: ranks are few, so this is cheaper than a sort.
                while place > 0 and out[token, layer, place - 1] < value:
                    out[token, layer, place] = out[token, layer, place - 1]
                    place -= 1
                out[token, layer, place] = value
            # Shares of a softmax cannot sum to more than all of it.
            if total > 1.0:
                for rank in range(top_k):
                    out[token, layer, rank] /= total
