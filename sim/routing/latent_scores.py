"""The compiled part of latent routing: normal numbers by hash, so that no score depends on how many are asked."""

import numpy as np
from numba import njit

from sim.routing.compiled import DRIFT, GATE, REQUEST, SCALE_24, hashed, low, middle


@njit(cache=True, inline="always")
def _pair(bits):  # type: ignore[no-untyped-def]
    """Two independent standard normal numbers (Box and Muller)."""
    radius = np.sqrt(-2.0 * np.log(low(bits) + 0.5 * SCALE_24))
    angle = 2.0 * np.pi * middle(bits)
    return radius * np.cos(angle), radius * np.sin(angle)


@njit(cache=True)
def fill_popularity(spread, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [layer, expert] with normal numbers of that ``spread`` [layer], always the same."""
    for layer in range(out.shape[0]):
        for expert in range(out.shape[1]):
            first, _ = _pair(hashed(np.uint64(0), layer, expert))
            out[layer, expert] = spread[layer] * first


@njit(cache=True)
def fill_scores(own, spread, fade, key, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [token, layer, expert] with ``own`` [layer, expert] and the parts of ``spread`` [request, fading …, new; layer].

    ``fade`` is each fading part's correlation from token to token.
    """
    tokens, layers, experts = out.shape
    parts = len(fade)
    parts_now = np.empty((parts, experts))
    for layer in range(layers):
        lasting, starting = hashed(key, REQUEST, layer), hashed(key, DRIFT, layer)
        base = np.empty(experts)
        for expert in range(experts):
            base[expert] = own[layer, expert] + spread[0, layer] * _pair(hashed(lasting, expert, 0))[0]
            for part in range(parts):
                parts_now[part, expert] = _pair(hashed(starting, expert, part))[0]
        own_key = hashed(key, GATE, layer)
        for token in range(tokens):
            token_key = hashed(own_key, token, 0)
            for expert in range(experts):
                new, spare = _pair(hashed(token_key, expert, 0))
                value = base[expert] + spread[1 + parts, layer] * new
                for part in range(parts):
                    if part % 2 == 1:
                        push, spare = _pair(hashed(token_key, expert, part))
                    else:
                        push = spare
                    if token > 0:
                        kept = fade[part]
                        parts_now[part, expert] = kept * parts_now[part, expert] + np.sqrt(1.0 - kept * kept) * push
                    value += spread[1 + part, layer] * parts_now[part, expert]
                out[token, layer, expert] = value


@njit(cache=True)
def select(scores, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [token, layer, rank] with the experts of the largest ``scores`` [token, layer, expert]; ties to the lower."""
    tokens, layers, top_k = out.shape
    for token in range(tokens):
        for layer in range(layers):
            row = scores[token, layer]
            for rank in range(top_k):
                best = -1
                for expert in range(len(row)):
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
