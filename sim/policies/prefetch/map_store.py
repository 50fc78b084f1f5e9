"""A store of expert maps of past iterations, and how fMoE searches it (arXiv 2502.05370)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
FILLED_TOGETHER = 64
"""Maps whose likeness to the store is computed at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What a search says of each iteration: for MoE layer l, ``shares`` [iteration, layer, expert] of the map found and its ``score``.

    ``semantic`` and ``trajectory`` hold the likeness [iteration, entry] over the whole: they say what is redundant.
    """

    shares: Array
    score: Array
    semantic: Array
    trajectory: Array


class MapStore:
    """Up to ``capacity`` pairs of an embedding and an expert map; the one state of the search."""

    def __init__(self, capacity: int, num_layers: int, num_experts: int, distance: int, dimension: int | None = None) -> None:
        """Empty; embeddings of that ``dimension``, by default that of a flattened map."""
        self.distance = distance
        self.count = 0
        self._maps = np.zeros((num_layers, capacity, num_experts), np.float32)
        self._lengths = np.zeros((num_layers, capacity), np.float32)
        self._embeddings = np.zeros((capacity, num_layers * num_experts if dimension is None else dimension), np.float32)

    def search(self, embeddings: Array, maps: Array) -> Found:
        """Top-1 by cosine for every iteration, of which ``embeddings`` [iteration, dimension] and ``maps`` [iteration, layer, expert].

        Layers 0 … d - 1 by embedding, layer l from d on by the flattened map of layers 0 … l - d. A score of 0 says that nothing was
        found: an empty store, or an embedding of zeros.
        """
        stored = self._maps[:, : self.count]
        semantic = _units(embeddings) @ self._embeddings[: self.count].T
        products = np.cumsum(np.matmul(maps.swapaxes(0, 1), stored.swapaxes(1, 2)), axis=0)
        own, theirs = _lengths(maps.swapaxes(0, 1)), self._lengths[:, : self.count]
        prefixes = products / np.maximum(own[:, :, None] * theirs[:, None, :], 1e-12)
        num_layers, num_iterations = len(stored), len(maps)
        shares, score = np.zeros(maps.shape, np.float32), np.zeros((num_iterations, num_layers), np.float32)
        for layer in range(num_layers if self.count else 0):
            likeness = semantic if layer < self.distance else prefixes[layer - self.distance]
            best = np.argmax(likeness, axis=1)
            score[:, layer] = likeness[np.arange(num_iterations), best]
            shares[:, layer] = stored[layer, best]
        shares *= score[:, :, None] > 0
        return Found(shares=shares, score=score, semantic=semantic, trajectory=prefixes[-1])

    def insert(self, embeddings: Array, maps: Array, found: Found | None = None) -> None:
        """Add iterations; in a full store each overwrites the entry it makes redundant.

        That is argmax of (d/L) · semantic + ((L - d)/L) · trajectory likeness. ``found`` is what ``search`` gave
        for them; it is not asked while there is room.
        """
        num_layers, capacity, _ = self._maps.shape
        weight = min(self.distance, num_layers) / num_layers
        for number in range(len(maps)):
            if self.count < capacity:
                place = self.count
                self.count += 1
            elif found is not None and found.semantic.shape[1]:
                place = int(np.argmax(weight * found.semantic[number] + (1.0 - weight) * found.trajectory[number]))
            else:
                return
            self._put(place, embeddings[number], maps[number])

    def fill(self, embeddings: Array, maps: Array) -> None:
        """Add iterations of earlier requests one after another, as ``insert`` does; of many at once, likeness is computed together."""
        room = self._lengths.shape[1] - self.count
        self.insert(embeddings[:room], maps[:room])
        joint = self._joint(embeddings, maps)
        stored = self._joint(self._embeddings[: self.count], self._maps[:, : self.count].swapaxes(0, 1))
        latest: dict[int, int] = {}
        for first in range(room, len(maps), FILLED_TOGETHER):
            block = joint[first : first + FILLED_TOGETHER]
            likeness, among = block @ stored.T, block @ block.T
            for number in range(len(block)):
                place = int(np.argmax(likeness[number]))
                likeness[:, place] = among[:, number]
                stored[place] = block[number]
                latest[place] = first + number
        for place, number in latest.items():
            self._put(place, embeddings[number], maps[number])

    def _joint(self, embeddings: Array, maps: Array) -> Array:
        """Vectors whose products are what says how redundant a pair is."""
        weight = min(self.distance, maps.shape[1]) / maps.shape[1]
        flat = maps.reshape(len(maps), -1)
        return np.concatenate([np.sqrt(weight) * _units(embeddings), np.sqrt(1.0 - weight) * _units(flat)], axis=1).astype(np.float32)

    def _put(self, place: int, embedding: Array, expert_map: Array) -> None:
        self._maps[:, place], self._embeddings[place] = expert_map, _units(embedding)
        self._lengths[:, place] = _lengths(expert_map[:, None])[:, 0]


def selected(shares: Array, score: Array, least: int) -> NDArray[np.bool_]:
    """Which experts [..., expert] to fetch: the shortest prefix by descending share that adds up to 1 - score [...], and ``least`` of them."""
    order = np.argsort(-shares, axis=-1, kind="stable")
    threshold = (np.clip(1.0 - score.astype(np.float64), 0.0, 1.0) - 1e-6).astype(np.float32)
    reached = np.cumsum(np.take_along_axis(shares, order, axis=-1), axis=-1) >= threshold[..., None]
    count = np.where(reached.any(axis=-1), reached.argmax(axis=-1) + 1, shares.shape[-1])
    return np.asarray(np.argsort(order, axis=-1) < np.maximum(count, least)[..., None])


def embeddings_of(maps: Array, of_sequence: NDArray[np.int64]) -> Array:
    """What stands for an iteration's embedding [iteration, dimension]: the mean map of its sequence's earlier ones; zeros for the first."""
    flat = maps.reshape(len(maps), -1)
    embeddings = np.zeros_like(flat)
    for sequence in np.unique(of_sequence):
        rows = np.flatnonzero(of_sequence == sequence)
        sums = np.cumsum(flat[rows], axis=0)
        embeddings[rows[1:]] = sums[:-1] / np.arange(1, len(rows))[:, None]
    return embeddings


def _units(vectors: Array) -> Array:
    """Of length 1, so that products are cosines; zeros stay."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), np.float32)


def _lengths(maps: Array) -> Array:
    """Norms [layer, map] of the flattened layers up to each."""
    return np.asarray(np.sqrt(np.cumsum((maps**2).sum(axis=2), axis=0)))
