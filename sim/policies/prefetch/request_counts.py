"""Request-level counts matched to past requests, as MoE-Infinity prefetches (arXiv 2401.14361)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.policies.base import Foresight, Predictions, Prefetch
from sim.policies.prefetch.naming import PRIORITY_SCALE, gathered
from sim.policies.prefetch.past import past_requests

Array = NDArray[np.float32]
MAX_NAMED = 256
"""Candidates kept of a gate: beyond them nothing would be fetched before the next gate names them anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCountsPrefetch(Prefetch):
    """Before each layer, the past request most like this one so far; every expert that it used in a remaining layer is a candidate.

    Likeness is the mean over layers of the cosine between rows of the two count matrices (layers without counts add 0). An expert of
    layer i counts for its share in the past request's layer times 1 - (i - l)/(L + 1), l being the layer at hand. The layer waits
    for the lookup, of ``lookup_ns`` (0.1 ms: assumed), which here follows the gate of the layer before. ``num_stored`` past requests (100:
    assumed) come from the same routing. A whole batch has one matrix. ``max_waiting`` copies are queued at once (8: assumed).
    ``names_top_k``: of each layer, only the top_k most used are candidates, as where fMoE's authors rebuilt it
    (github.com/IntelliSys-Lab/FineMoE-EuroSys26).
    """

    num_stored: int = 100
    lookup_ns: int = 100_000
    max_waiting: int | None = 8
    is_lookup_awaited: bool = True
    names_top_k: bool = False

    def __post_init__(self) -> None:
        for name in ("num_stored", "lookup_ns"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.max_waiting is not None and self.max_waiting < 1:
            raise InputError(f"max_waiting must be at least 1 or none, got {self.max_waiting}")

    def predict(self, foresight: Foresight) -> Predictions:
        """See Prefetch."""
        moe_layers = np.array(foresight.problem.model.moe_layers)
        stored = stored_counts(foresight, self.num_stored)
        tokens = foresight.tokens[:, moe_layers]
        forecast = np.repeat(foresight.problem.popularity[None].astype(np.float32), len(tokens) + 1, axis=0)
        if not len(stored):
            return gathered([], foresight.tokens.shape)
        before, during = likeness(np.cumsum(tokens, axis=0), stored)
        shares = stored / np.maximum(stored.sum(axis=2, keepdims=True), 1)
        rank = np.argsort(np.argsort(-shares, axis=2, kind="stable"), axis=2, kind="stable")
        named = np.where(rank < foresight.problem.model.top_k, shares, 0) if self.names_top_k else shares
        rows = []
        for index, scores in enumerate(during):
            if index:
                forecast[index + 1, moe_layers] = shares[before[index]]
            rows.append(_rows(index, named[np.argmax(scores, axis=1)], moe_layers, foresight.tokens.shape))
        found = gathered(rows, foresight.tokens.shape)
        return Predictions(first=found.first, candidates=found.candidates, forecast=forecast, reach=len(forecast[0]))


def stored_counts(foresight: Foresight, count: int) -> Array:
    """Count matrices [request, MoE layer, expert] of past requests."""
    model = foresight.problem.model
    if not count:
        return np.zeros((0, len(model.moe_layers), model.num_experts), np.float32)
    draw, _ = past_requests(foresight, count)
    matrices = np.zeros((len(draw.ids), len(model.moe_layers), model.num_experts), np.float32)
    for request, ids in enumerate(draw.ids):
        flat = ids + np.arange(len(model.moe_layers))[:, None] * model.num_experts
        matrices[request] = np.bincount(flat.ravel(), minlength=matrices[0].size).reshape(matrices[0].shape)
    return matrices


def likeness(counts: NDArray[np.int64], stored: Array) -> tuple[NDArray[np.int64], Array]:
    """The nearest request [pass] before each pass begins, and likeness [pass, MoE layer, request] once each layer's gate is known.

    ``counts`` [pass, MoE layer, expert] are this request's, up to and including each pass.
    """
    unit = stored / np.maximum(np.linalg.norm(stored, axis=2, keepdims=True), 1e-12)
    own = counts / np.maximum(np.linalg.norm(counts, axis=2, keepdims=True), 1e-12)
    cosines = np.matmul(own.astype(np.float32).swapaxes(0, 1), unit.transpose(1, 2, 0)).swapaxes(0, 1)
    earlier = np.concatenate([np.zeros_like(cosines[:1]), cosines[:-1]])
    so_far = np.cumsum(cosines, axis=1)
    to_come = earlier.sum(axis=1, keepdims=True) - np.cumsum(earlier, axis=1)
    return np.argmax(earlier.sum(axis=1), axis=1), (so_far + to_come) / counts.shape[1]


def _rows(index: int, matched: Array, moe_layers: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Rows (gate, priority, layer, expert) of one pass; ``matched`` [gate, MoE layer, expert] are shares of the request each gate finds."""
    count = len(moe_layers)
    ahead = np.arange(count)[None, :] - np.arange(count)[:, None]
    weight = np.where(ahead > 0, 1.0 - ahead / (count + 1), 0.0)[:, :, None] * matched
    if weight[0].size > MAX_NAMED:
        flat = weight.reshape(count, -1)
        least = np.partition(flat, -MAX_NAMED, axis=1)[:, -MAX_NAMED]
        weight = np.where(weight >= least[:, None, None], weight, 0.0)
    gate, layer, expert = np.nonzero(weight)
    priority = np.rint((1.0 - weight[gate, layer, expert]) * PRIORITY_SCALE).astype(np.int64)
    return np.stack([index * shape[1] + moe_layers[gate], priority, moe_layers[layer], expert], axis=1)
