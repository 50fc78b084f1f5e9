"""Compiled functions of latent routing.

Every normal number is made from a hash, so a score does not depend on how many tokens are drawn.
"""

import numpy as np

from sim.engine.compilation import allocating_kernel, inner
from sim.routing.compiled import CLASS, DRIFT, GATE, REQUEST, SCALE_24, hashed, low, middle


@inner
def _pair(bits):  # type: ignore[no-untyped-def]
    """Two independent standard normal numbers (Box and Muller)."""
    radius = np.sqrt(-2.0 * np.log(low(bits) + 0.5 * SCALE_24))
    angle = 2.0 * np.pi * middle(bits)
    return radius * np.cos(angle), radius * np.sin(angle)


@allocating_kernel
def fill_popularity(spread, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [layer, expert] with normal numbers, the same in every call.

    Their standard deviation is ``spread`` [layer].
    """
    for layer in range(out.shape[0]):
        for expert in range(out.shape[1]):
            # Key 0 whatever the seed: which experts are popular is a fact of the model, not of a
            # run.
            first, _ = _pair(hashed(np.uint64(0), layer, expert))
            out[layer, expert] = spread[layer] * first


@inner
def _lasting(bits, skew):  # type: ignore[no-untyped-def]
    """Return a number of mean 0 and variance 1 from ``bits``.

    It is normal where ``skew`` is 0, else exp(``skew`` · normal) brought to that mean and variance.
    """
    value, _ = _pair(bits)
    if skew > 0.0:
        # Mean and variance of a lognormal number: exp(k²/2) and (exp(k²) − 1)·exp(k²).
        square = np.exp(skew * skew)
        value = (np.exp(skew * value) - np.sqrt(square)) / np.sqrt((square - 1.0) * square)
    return value


@allocating_kernel
def last_drawn(kept, key, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [token, part] with the token at which each part was last drawn anew.

    ``kept`` [part] is the probability that a part stays from one token to the next.
    """
    # One key for all layers: a change of topic shows in all of them at once.
    jumps = hashed(key, CLASS, 0)
    for part in range(len(kept)):
        drawn = 0
        for token in range(len(out)):
            if token > 0 and low(hashed(jumps, token, part)) >= kept[part]:
                drawn = token
            out[token, part] = drawn


@allocating_kernel
def fill_scores(own, spread, kept, skew, key, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [token, layer, expert] with the scores of one sequence.

    A score is ``own`` [layer, expert] plus a part for the request, the fading parts, and a part new
    with every token. ``spread`` [part, layer] holds their standard deviations in this order. A
    fading part stays from one token to the next with the probability ``kept`` [fading part].
    Otherwise it is drawn anew, in all layers at once. ``skew`` is that of the request's part and
    the fading parts.
    """
    tokens, layers, experts = out.shape
    parts = len(kept)
    drawn = np.zeros((tokens, parts), np.int64)
    last_drawn(kept, key, drawn)
    values = np.empty((parts, experts))
    base = np.empty(experts)
    for layer in range(layers):
        lasting = hashed(key, REQUEST, layer)
        fading = hashed(key, DRIFT, layer)
        own_key = hashed(key, GATE, layer)
        for expert in range(experts):
            base[expert] = own[layer, expert] + spread[0, layer] * _lasting(
                hashed(lasting, expert, 0), skew
            )
        for token in range(tokens):
            for part in range(parts):
                # The part's numbers change only at the tokens at which it is drawn anew.
                if drawn[token, part] == token:
                    part_key = hashed(fading, token, part)
                    for expert in range(experts):
                        values[part, expert] = _lasting(hashed(part_key, expert, 0), skew)
            token_key = hashed(own_key, token, 0)
            for expert in range(experts):
                new, _ = _pair(hashed(token_key, expert, 0))
                value = base[expert] + spread[1 + parts, layer] * new
                for part in range(parts):
                    value += spread[1 + part, layer] * values[part, expert]
                out[token, layer, expert] = value


@allocating_kernel
def select(scores, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [token, layer, rank] with the experts of the largest ``scores``, largest first.

    ``scores`` is [token, layer, expert]. Of equal scores, the lower expert number comes first.
    """
    tokens, layers, top_k = out.shape
    for token in range(tokens):
        for layer in range(layers):
            row = scores[token, layer]
            for rank in range(top_k):
                best = -1
                for expert in range(len(row)):
                    # Not larger than the best so far: ties go to the lower number, which came
                    # first.
                    if best >= 0 and row[expert] <= row[best]:
                        continue
                    is_taken = False
                    for earlier in range(rank):
                        if out[token, layer, earlier] == expert:
                            is_taken = True
                            break
                    if not is_taken:
                        best = expert
                out[token, layer, rank] = best
