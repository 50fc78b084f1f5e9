"""The locality of a model's streams: its own where its routing was measured, else that of its kind."""

import numpy as np
from numpy.typing import NDArray

from sim.model.library import load_model
from sim.model.model import Model, TensorClass
from sim.runtimes.caching.measured_routing import measured_routing
from sim.runtimes.caching.stream import IntArray, LatentLocality

MEMORIES_TOKENS = (16.2, 0.764)
"""The memories of the fading parts, the same for all models.

They are those of recorded chats of DeepSeek-V2-Lite.
"""

SEGMENTS_TOKENS = (4, 16, 64, 256)
"""Lengths of stretches of text for which the published coverage is known."""


def stream_locality(model: Model) -> LatentLocality:
    """Return the locality of a model.

    Of a model that was not measured, it is a mean over measured ones: those with shared experts if
    it has some, else those without. The published analysis finds that shared experts separate
    models most.
    """
    known = measured_routing().models
    if model.name in known:
        return locality_of_shares(known[model.name].shares)
    alike = [
        own.shares
        for name, own in known.items()
        if _has_shared(load_model(name)) == _has_shared(model)
    ]
    return locality_of_shares(tuple(np.mean(alike, axis=0)))


def locality_of_shares(shares: tuple[float, ...]) -> LatentLocality:
    """Return the locality with these shares, which are in the order of the file."""
    own, request, *fading = shares
    return LatentLocality(
        popularity=own, request=request, fading=tuple(zip(MEMORIES_TOKENS, fading, strict=True))
    )


def covered(ids: IntArray, num_experts: int, text_tokens: int) -> NDArray[np.float64]:
    """Return the coverage [length] of a layer's choices, for each of SEGMENTS_TOKENS.

    It is the SRP of arXiv 2505.16056. In a stretch of text, the experts used more than a certain
    number of times stand for the stretch's choices. The coverage is their F1 for the best such
    number. ``ids`` is [token, rank], in texts of ``text_tokens`` tokens.
    """
    num_tokens = len(ids) // text_tokens * text_tokens
    chosen = np.zeros((num_tokens, num_experts), np.int16)
    chosen[np.arange(num_tokens)[:, None], ids[:num_tokens]] = 1
    before = chosen.reshape(-1, text_tokens, num_experts).cumsum(axis=1, dtype=np.int16)
    before = np.concatenate([np.zeros_like(before[:, :1]), before], axis=1)

    def best(length: int) -> float:
        """Return the best F1 over all stretches of that length."""
        counts = np.bincount(
            (before[:, length:] - before[:, :-length]).ravel(), minlength=length + 1
        )
        matches = (counts * np.arange(length + 1))[::-1].cumsum()[::-1]
        predicted = counts[::-1].cumsum()[::-1] * length
        return float((2 * matches / (predicted + matches[0])).max())

    return np.array([best(length) for length in SEGMENTS_TOKENS])


def _has_shared(model: Model) -> bool:
    return any(layer.params.get(TensorClass.SHARED_EXPERT, 0) for layer in model.layers)
