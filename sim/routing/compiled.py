"""Compiled functions of fitted routing.

Every random number is a hash of its purpose and place. A choice therefore does not depend on how
many tokens or sequences are drawn.
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
"""Purposes of random numbers: each is hashed into the keys of its numbers."""
# After so many draws of one choice, the likeliest expert not yet taken is selected.
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
    """Return the key from which all random numbers of one sequence are hashed."""
    return hashed(hashed(np.uint64(seed), 0, 0), sequence, 0)


@inner
def low(bits):  # type: ignore[no-untyped-def]
    """A number in [0, 1) from the lowest 24 bits."""
    return np.float32(bits & LOW_24) * SCALE_24


@inner
def middle(bits):  # type: ignore[no-untyped-def]
    """Return a number in [0, 1) from bits 24 to 47, which is independent of ``low``."""
    return np.float32((bits >> np.uint64(24)) & LOW_24) * SCALE_24


@inner
def normal(bits):  # type: ignore[no-untyped-def]
    """A standard normal number (Box and Muller)."""
    # Half a step up, as the logarithm of 0 has no value.
    return np.sqrt(-2.0 * np.log(low(bits) + 0.5 * SCALE_24)) * np.cos(2.0 * np.pi * middle(bits))


@inner
def search(cumulative, target):  # type: ignore[no-untyped-def]
    """Return the first index whose cumulative sum exceeds ``target``, or else the last index."""
    first = 0
    length = len(cumulative)
    while length > 1:  # without a branch that a processor could mispredict
        half = length // 2
        first += half * (cumulative[first + half - 1] <= target)
        length -= half
    return first


class ChoiceLaw(NamedTuple):
    """The numbers by which ``choose_sequence`` selects experts.

    Draws follow ``weights`` [class, layer, expert]. ``request_spread`` and ``drift_spread`` [layer]
    are standard deviations of log preferences: of a request, and of a segment. A segment lasts
    ``drift_tokens`` tokens on average. A choice copies one of an earlier token with probability
    ``copied`` [layer]. That token lies ``lags`` [lag] tokens before, drawn by the cumulative
    ``kernel`` [lag]. The share ``linked`` of choices uses the same random numbers in all layers.
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
    """Fill ``out`` [token, layer, rank] with the expert ids of one sequence, by a ``ChoiceLaw``.

    ``classes`` [token] are its token classes, ``key`` is its key. Segments are chosen one after
    another; each has preferences of its own that are added to the request's.
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
    """Fill ``out`` [class, layer, expert] with cumulative probabilities over experts.

    They are the law's weights times the preferences of the request and the segment, which all
    classes share.
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
    """Return the class of each token [token] of a sequence.

    A token takes over the class of the token ``lags[i]`` before with the probability that ``kept``
    [lag] gives. Else its class follows that of the last token by ``chain`` [class before, class].
    The first token's class is drawn from ``share`` [class]. ``kept``, ``chain`` and ``share`` are
    cumulative.
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
    """Fill ``out`` [token, layer, rank] for the tokens of one segment, (first, end).

    A choice copies an earlier token's choice, or is drawn from ``cumulative`` [class, layer,
    expert]. No token selects an expert twice in a layer.
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
    """Return the likeliest expert that is not in ``taken``.

    It is used where nearly all the probability belongs to taken experts. ``cumulative`` is
    [expert].
    """
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
    """Fill ``out`` [token, layer, rank] with gate weights, descending by rank, of sum at most 1.

    ``log_mean`` and ``log_spread`` [layer, rank] are of the weights' natural logarithms; any two
    ranks have the same ``correlation``.
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
