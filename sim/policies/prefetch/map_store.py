"""A store of expert maps of past iterations, and how fMoE searches it (arXiv 2502.05370)."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.step.rules.map_store import (
    TIE,
    CosineRoom,
    Nearest,
    StoredMaps,
    follow,
    multiply_in_order,
    select_by_threshold,
    transpose_all,
    transpose_into,
)

Array = NDArray[np.float32]
TOGETHER = 64
"""Iterations whose likeness to the store is computed at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What a search finds for each iteration: the ``shares`` [iteration, layer, expert] of the maps
    found, and their ``score`` [iteration, layer], for each MoE layer.

    ``semantic`` and ``trajectory`` [iteration, entry] are the likeness to every entry: of
    embeddings, and of whole maps. They say which entry is redundant.
    """

    shares: Array
    score: Array
    semantic: Array
    trajectory: Array


class MapStore:
    """A store of up to ``capacity`` pairs of an embedding and an expert map: the only state of the
    search.
    """

    def __init__(
        self,
        capacity: int,
        num_layers: int,
        num_experts: int,
        distance: int,
        dimension: int | None = None,
    ) -> None:
        """Make an empty store for embeddings of ``dimension`` numbers; None: as many as a flattened
        map has.
        """
        self.distance = distance
        self.count = 0
        self._maps = np.zeros((capacity, num_layers, num_experts), np.float32)
        # Maps a second time, by expert: a token has few experts, and so few rows to read.
        self._by_expert = np.zeros((num_layers, num_experts, capacity), np.float32)
        self._lengths = np.zeros((num_layers, capacity), np.float32)
        dimension = num_layers * num_experts if dimension is None else dimension
        self._embeddings = np.zeros((capacity, dimension), np.float32)
        # And these by dimension, so that products with many entries go on side by side.
        self._by_dimension = np.zeros((dimension, capacity), np.float32)

    def search(self, embeddings: Array, maps: Array) -> Found:
        """Find the nearest entry by cosine for every iteration, given its ``embeddings``
        [iteration, dimension] and ``maps`` [iteration, layer, expert].

        With d the distance, layers 0 … d - 1 go by embedding. Layer l from d on goes by the
        flattened map of layers 0 … l - d. A score of 0 says that nothing was found: the store is
        empty, or the embedding is zeros.
        """
        return self._found(self._likeness(_units(embeddings)), maps)

    def replay(self, embeddings: Array, maps: Array, borders: NDArray[np.int64]) -> Iterator[Found]:
        """Yield for each group of iterations, from one border to the next, what ``search`` finds;
        then insert the group.

        The likeness of embeddings is computed for several groups together. What is found does not
        depend on how many these are, to the last digit.
        """
        group = 0
        while group < len(borders) - 1:
            end = max(
                group + 1, int(np.searchsorted(borders, borders[group] + TOGETHER, "right")) - 1
            )
            start = borders[group]
            units = _units(embeddings[start : borders[end]])
            # One product of matrices serves several groups. What a group inserts changes a column for
            # those behind it.
            semantic = np.zeros((len(units), len(self._maps)), np.float32)
            # Nobody is behind the last group of those.
            has_followers = end > group + 1
            among = (
                products_of(units, np.ascontiguousarray(units.T), len(units))
                if has_followers
                else np.zeros((0, 0), np.float32)
            )
            semantic[:, : self.count] = self._likeness(units)
            for first, last in itertools.pairwise(borders[group : end + 1].tolist()):
                # A copy: the columns of what is inserted below are written anew, while the caller may still
                # look at what was found.
                found = self._found(
                    semantic[first - start : last - start, : self.count].copy(), maps[first:last]
                )
                yield found
                for number, place in self._places(last - first, found):
                    self._put(place, units[first - start + number], maps[first + number])
                    if has_followers:
                        semantic[:, place] = among[:, first - start + number]
            group = end

    def insert(self, embeddings: Array, maps: Array, found: Found | None = None) -> None:
        """Add iterations; in a full store each overwrites the entry that it makes redundant.

        That entry is the argmax of (d/L) · semantic + ((L - d)/L) · trajectory likeness. ``found``
        is what ``search`` gave for these iterations. It is not needed while there is room; in a
        full store, iterations are left out without it.
        """
        room = len(self._maps) - self.count
        self._append(embeddings[:room], maps[:room])
        rest = (
            None
            if found is None
            else replace(found, semantic=found.semantic[room:], trajectory=found.trajectory[room:])
        )
        units = _units(embeddings[room:])
        for number, place in self._places(len(maps[room:]), rest):
            self._put(place, units[number], maps[room + number])

    def fill(self, embeddings: Array, maps: Array) -> None:
        """Add iterations of earlier requests one after another, as ``insert`` does. The likeness of
        many is computed together.
        """
        room = len(self._maps) - self.count
        self.insert(embeddings[:room], maps[:room])
        if len(maps) <= room:
            return
        joint = self._joint(embeddings, maps)
        stored = self._joint(self._embeddings[: self.count], self._maps[: self.count])
        latest: dict[int, int] = {}
        for first in range(room, len(maps), TOGETHER):
            block = joint[first : first + TOGETHER]
            likeness = block @ stored.T
            among = block @ block.T
            # What a block's iteration overwrites counts for the later ones of the block.
            for number in range(len(block)):
                place = int(_nearest(likeness[number]))
                likeness[:, place] = among[:, number]
                stored[place] = block[number]
                latest[place] = first + number
        for place, number in latest.items():
            self._put(place, _units(embeddings[number]), maps[number])

    def _likeness(self, units: Array) -> Array:
        """Return the cosines [iteration, entry] of embeddings of length 1 with those of the
        entries.
        """
        return products_of(units, self._by_dimension, self.count)

    def _found(self, semantic: Array, maps: Array) -> Found:
        """Return what a search finds, given the likeness of embeddings, ``semantic`` [iteration,
        entry].
        """
        num_iterations, num_layers, _ = maps.shape
        trajectory = np.zeros((num_iterations, self.count), np.float32)
        best = np.zeros((num_iterations, num_layers), np.int64)
        score = np.zeros((num_iterations, num_layers), np.float32)
        if not self.count:
            return Found(
                shares=np.zeros_like(maps), score=score, semantic=semantic, trajectory=trajectory
            )
        # The first layers have no trajectory so early: they go by what the request means.
        best[:, : self.distance] = _nearest(semantic)[:, None]
        score[:, : self.distance] = semantic.max(axis=1)[:, None]
        own = np.ascontiguousarray(_lengths(maps.swapaxes(0, 1)).T)
        cosines = np.empty(self.count, np.float32)
        follow(
            np.ascontiguousarray(maps),
            own,
            StoredMaps(by_expert=self._by_expert, lengths=self._lengths),
            self.distance,
            CosineRoom(cosines=cosines, bits=cosines.view(np.int32)),
            Nearest(trajectory=trajectory, best=best, score=score),
        )
        shares = self._maps[best, np.arange(num_layers)] * (score > 0)[:, :, None]
        return Found(shares=shares, score=score, semantic=semantic, trajectory=trajectory)

    def _places(self, number: int, found: Found | None) -> Iterator[tuple[int, int]]:
        """Yield (iteration, entry) for each of ``number`` iterations; those that find no place are
        left out.
        """
        num_layers = self._maps.shape[1]
        # Each likeness weighs as many layers as it decides.
        weight = min(self.distance, num_layers) / num_layers
        for own in range(number):
            if self.count < len(self._maps):
                self.count += 1
                yield own, self.count - 1
            elif found is not None and found.semantic.shape[1]:
                yield (
                    own,
                    int(
                        _nearest(
                            weight * found.semantic[own] + (1.0 - weight) * found.trajectory[own]
                        )
                    ),
                )
            else:
                return

    def _joint(self, embeddings: Array, maps: Array) -> Array:
        """Return a vector for each pair of embedding and map. The product of two says how redundant
        one pair makes the other.
        """
        weight = min(self.distance, maps.shape[1]) / maps.shape[1]
        flat = maps.reshape(len(maps), -1)
        # A product of such vectors is the weighted sum of both cosines.
        return np.concatenate(
            [np.sqrt(weight) * _units(embeddings), np.sqrt(1.0 - weight) * _units(flat)], axis=1
        ).astype(np.float32)

    def _append(self, embeddings: Array, maps: Array) -> None:
        """Put entries behind the others; there must be room."""
        new = slice(self.count, self.count + len(maps))
        transpose_all(self._by_expert, np.ascontiguousarray(maps), self.count)
        # Few enough at a time to stay in the processor's cache.
        for first in range(0, len(maps), TOGETHER):
            part = slice(first, first + TOGETHER)
            self._maps[new][part] = maps[part]
            units = _units(embeddings[part])
            self._embeddings[new][part] = units
            self._by_dimension[:, new][:, part] = units.T
            self._lengths[:, new][:, part] = _lengths(maps[part].swapaxes(0, 1))
        self.count += len(maps)

    def _put(self, place: int, unit: Array, expert_map: Array) -> None:
        """Write an entry: its embedding, of length 1, and its map."""
        transpose_into(self._by_expert, self._maps[place], expert_map, place)
        self._maps[place] = expert_map
        self._embeddings[place] = unit
        self._by_dimension[:, place] = unit
        self._lengths[:, place] = _lengths(expert_map[:, None])[:, 0]


def select(shares: Array, score: Array | float, top_k: int) -> NDArray[np.bool_]:
    """Return the experts [..., expert] of a layer to fetch: the fewest, by descending share, that
    add up to 1 - score, at least ``top_k``.

    Ties go to the lower number. ``score`` [...] has one number for each case.
    """
    # Less a millionth: sums of shares in 32 bits may fall just short of what they should add up to.
    threshold = np.asarray(
        (np.clip(1.0 - np.asarray(score, np.float64), 0.0, 1.0) - 1e-6).astype(np.float32)
    )
    chosen = np.zeros(shares.shape, np.bool_)
    width = shares.shape[-1]
    left = np.array(shares, np.float32).reshape(-1, width)
    thresholds = np.broadcast_to(threshold, shares.shape[:-1]).ravel()
    select_by_threshold(
        left, left.view(np.int32), thresholds, max(1, min(top_k, width)), chosen.reshape(-1, width)
    )
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Running:
    """The sum of the maps of each sequence so far [sequence, dimension], and the number of these
    maps [sequence].
    """

    sums: Array
    counts: NDArray[np.int64]


def embeddings_of(
    maps: Array, of_sequence: NDArray[np.int64], before: Running | None = None
) -> tuple[Array, Running]:
    """Return what stands for the embeddings of iterations [iteration, dimension], and the sums that
    later iterations go on from.

    The mean map of its sequence's earlier iterations, those ``before`` included, stands for an
    iteration's embedding; zeros for the first.
    """
    flat = maps.reshape(len(maps), -1)
    embeddings = np.zeros_like(flat)
    num_sequences = int(of_sequence.max(initial=0)) + 1
    sums = np.zeros((num_sequences, flat.shape[1]), np.float32)
    counts = np.zeros(num_sequences, np.int64)
    if before is not None:
        sums[: len(before.sums)] = before.sums
        counts[: len(before.counts)] = before.counts
    for number, sequence in enumerate(of_sequence.tolist()):
        if counts[sequence]:
            embeddings[number] = sums[sequence] / int(counts[sequence])
        sums[sequence] += flat[number]
        counts[sequence] += 1
    return embeddings, Running(sums=sums, counts=counts)


def products_of(units: Array, by_dimension: Array, count: int) -> Array:
    """Return products [row, entry] of ``units`` [row, dimension] with the first ``count`` columns
    of ``by_dimension`` [dimension, entry]. Each is added up in the order of the dimensions.

    The digits of a product of matrices depend on how many rows come together. These do not.
    """
    found = np.zeros((len(units), count), np.float32)
    multiply_in_order(np.ascontiguousarray(units), by_dimension, found)
    return found


def _nearest(likeness: Array) -> NDArray[np.intp]:
    """Return the entry [...] of the largest likeness [..., entry]; of several within TIE, the
    first.
    """
    return np.asarray(np.argmax(likeness >= likeness.max(axis=-1, keepdims=True) - TIE, axis=-1))


def _units(vectors: Array) -> Array:
    """Scale vectors to length 1, so that products are cosines; zeros stay."""
    return np.asarray(
        vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), np.float32
    )


def _lengths(maps: Array) -> Array:
    """Return the norms [layer, map] of the flattened layers up to each, of ``maps`` [layer, map,
    expert].
    """
    return np.asarray(np.sqrt(np.cumsum((maps**2).sum(axis=2), axis=0)))
