"""A compiled generator of streams of choices with a stated locality."""

from typing import NamedTuple

import numpy as np
from numba import njit


class StreamShape(NamedTuple):
    """The shape of a stream: its tokens, experts, experts a token, and tokens a request."""

    num_tokens: int
    num_experts: int
    top_k: int
    request_tokens: int


@njit(cache=True, nogil=True)
def latent_stream(shape, spreads, memories, seed):  # type: ignore[no-untyped-def]
    """Return the choices [token, rank] of one layer: the top-k of scores that persist in part.

    The law is that of sim/routing/latent.py. ``spreads`` are standard deviations of the parts of a
    score: an expert's own, a request's, each fading part, and what is new with every token.
    ``memories`` are those of the fading parts, in tokens.
    """
    num_experts = shape.num_experts
    top_k = shape.top_k
    np.random.seed(seed)
    num_fading = memories.shape[0]
    own = spreads[0] * np.random.standard_normal(num_experts)
    request = np.zeros(num_experts)
    fading = np.zeros((num_fading, num_experts))
    score = np.empty(num_experts)
    ids = np.empty((shape.num_tokens, top_k), np.int32)
    for token in range(shape.num_tokens):
        is_first = token % shape.request_tokens == 0
        if is_first:
            for expert in range(num_experts):
                request[expert] = own[expert] + spreads[1] * np.random.standard_normal()
        # A part is drawn anew at random times, so that it is either what it was or owes it nothing.
        for part in range(num_fading):
            if is_first or np.random.random() > np.exp(-1.0 / memories[part]):
                for expert in range(num_experts):
                    fading[part, expert] = spreads[2 + part] * np.random.standard_normal()
        for expert in range(num_experts):
            score[expert] = request[expert] + spreads[-1] * np.random.standard_normal()
        for part in range(num_fading):
            for expert in range(num_experts):
                score[expert] += fading[part, expert]
        for rank in range(top_k):
            best = 0
            for expert in range(1, num_experts):
                if score[expert] > score[best]:
                    best = expert
            ids[token, rank] = best
            score[best] = -np.inf
    return ids
