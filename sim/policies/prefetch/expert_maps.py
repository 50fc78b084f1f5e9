"""A prefetch by the expert maps of past iterations: fMoE (arXiv 2502.05370)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least
from sim.policies.foresight import Foresight, Predictions
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.map_store import (
    Found,
    MapStore,
    Running,
    embeddings_of,
    select,
)
from sim.policies.prefetch.naming import PRIORITY_SCALE, gathered
from sim.policies.prefetch.past import past_requests
from sim.policies.shares import maps_of
from sim.workload.batch import Feeding, forward_passes, passes_between

if TYPE_CHECKING:
    from sim.routing.base import ExpertMaps

FLOOR = 1e-6
"""Weight of popularity in the forecast. It ranks the experts to which a map gives nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertMapPrefetch(Prefetch):
    """Searches a store of ``capacity`` expert maps, and fetches the experts to which the nearest
    map gives weight, ``distance`` layers ahead.

    A map is the gate's mean distribution in every layer over an iteration's tokens. Where a routing
    gives no weights, it is the shares of the choices. The first ``distance`` layers are searched
    when a pass starts, by semantic likeness: that of the embeddings, means over the pass's tokens.
    Where a routing gives none, the mean map of the request's earlier iterations stands for them,
    and a first iteration finds nothing. Later layers are searched by the trajectory: the maps of
    the layers so far.

    Of each layer the experts of the largest shares are fetched: the fewest whose sum reaches clip(1
    - score, 0, 1), at least top-k. Their priority is share / layers ahead. The store has seen
    ``num_stored`` maps of other requests of the same routing (0: it is empty), and takes in the
    run's.

    Lookups, of ``lookup_ns``, and updates of the store, of ``update_ns``, run aside (0.1 ms each:
    assumed). A miss pauses prefetching (``pauses_on_miss``) on the links of all GPUs; a copy that
    has begun is not interrupted.

    ``by_token``: every token of a prompt is an iteration with a map of its own, and the experts
    that any of these maps names are fetched. ``names_all``: all experts of a layer are named, in
    the order of their priorities. Both are so in the authors' released code
    (github.com/IntelliSys-Lab/FineMoE-EuroSys26). ``most_named``: of each layer, only that many
    experts of the largest shares are named (None: any number).
    """

    distance: int = 3
    capacity: int = 1000
    num_stored: int = 1000
    lookup_ns: int = 100_000
    update_ns: int = 100_000
    pauses_on_miss: bool = True
    drops_stale: bool = True
    by_token: bool = False
    names_all: bool = False
    most_named: int | None = None

    def __post_init__(self) -> None:
        check_at_least(
            self, distance=1, capacity=1, num_stored=0, lookup_ns=0, update_ns=0, most_named=1
        )

    is_of_draw = True
    comes_in_parts = True

    def predict(self, foresight: Foresight) -> Predictions:
        """Search the store pass by pass, and name the experts to which the maps found
        give weight.
        """
        model = foresight.problem.model
        moe_layers = np.array(model.moe_layers)
        maps = maps_of(foresight, by_token=self.by_token)
        before = self._learnt(foresight)
        embeddings, sums = _embeddings(maps, before.sums)
        store = before.store or self.filled(foresight)
        popularity = foresight.problem.popularity.astype(np.float32)
        forecast = np.repeat(popularity[None], len(foresight.passes) + 1, axis=0)
        if before.forecast is not None:
            forecast[0] = before.forecast
        rows = []
        borders = np.searchsorted(maps.of_pass, np.arange(len(foresight.passes) + 1))
        for index, found in enumerate(store.replay(embeddings, maps.shares, borders)):
            named = self._named(found, model.top_k)
            rows.append(_rows(index, found, named, self.distance, moe_layers, foresight))
            # Layers for which nothing was found keep the forecast of the pass before.
            known = (found.score > 0).any(axis=0)
            forecast[index + 1] = forecast[index]
            forecast[index + 1, moe_layers[known]] = (
                found.shares.mean(axis=0)[known] + FLOOR * popularity[moe_layers[known]]
            )
        result = gathered(rows, foresight.tokens.shape)
        return Predictions(
            first=result.first,
            candidates=result.candidates,
            forecast=forecast,
            reach=self.distance,
            learnt=_Learnt(store=store, sums=sums, forecast=forecast[-1].copy())
            if foresight.part_of
            else None,
        )

    def _learnt(self, foresight: Foresight) -> "_Learnt":
        """What is known before the first of these passes."""
        before = foresight.part_of.learnt if foresight.part_of else None
        if before is None:
            return _Learnt()
        assert isinstance(before, _Learnt)
        return before

    def _named(self, found: Found, top_k: int) -> NDArray[np.bool_]:
        """Return the experts that each map found names [map, layer, expert]."""
        num_experts = found.shares.shape[-1]
        least = num_experts if self.names_all else top_k
        named = select(found.shares, found.score, least) & (found.score > 0)[:, :, None]
        if self.most_named is None:
            return named
        # Ties go to the lower number, as where the threshold selects.
        rank = np.argsort(np.argsort(-found.shares, axis=-1, kind="stable"), axis=-1)
        return named & (rank < self.most_named)

    def filled(self, foresight: Foresight) -> MapStore:
        """Return the store before the run, with up to ``num_stored`` maps of other requests."""
        model = foresight.problem.model
        shape = (len(model.moe_layers), model.num_experts)
        past = None
        if self.num_stored:
            draw, batch = past_requests(
                foresight, -(-self.num_stored // foresight.problem.batch.output_tokens)
            )
            if len(draw.ids):
                popularity = foresight.problem.popularity[list(model.moe_layers)]
                # Imported late: listing policies loads nothing that draws routings.
                from sim.routing.base import expert_maps

                # Each pass has an iteration at least: what is behind these passes is not stored.
                passes = passes_between(forward_passes(batch, Feeding()), 0, self.num_stored)
                past = expert_maps(draw, passes, popularity, by_token=self.by_token)
        known = maps_of(foresight, by_token=self.by_token) if past is None else past
        embeddings, _ = _embeddings(known)
        store = MapStore(self.capacity, *shape, self.distance, embeddings.shape[1])
        if past is not None:
            store.fill(embeddings[: self.num_stored], past.shares[: self.num_stored])
        return store


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Learnt:
    """What the search goes on from: the ``store``, the ``sums`` of the maps of each sequence, and
    the ``forecast`` [layer, expert] of the latest pass. Each is None before the first pass.
    """

    store: MapStore | None = None
    sums: Running | None = None
    forecast: NDArray[np.float32] | None = None


def _embeddings(
    maps: "ExpertMaps", before: Running | None = None
) -> tuple[NDArray[np.float32], Running | None]:
    """Return the embeddings of iterations [iteration, dimension], or what stands for them, and the
    sums that later iterations need (None: they have embeddings).
    """
    if maps.embeddings is not None:
        return maps.embeddings, None
    return embeddings_of(maps.shares, maps.of_sequence, before)


def _rows(
    index: int,
    found: Found,
    is_named: NDArray[np.bool_],
    distance: int,
    moe_layers: NDArray[np.int64],
    foresight: Foresight,
) -> NDArray[np.int64]:
    """Return rows (gate, priority, layer, expert) for one pass. An expert that several maps name
    gets its highest priority.
    """
    num_layers = foresight.tokens.shape[1]
    named = np.nonzero(is_named)
    ahead = np.minimum(named[1] + 1, distance)
    best = np.full(found.shares.shape[1:], PRIORITY_SCALE + 1)
    np.minimum.at(
        best,
        named[1:],
        np.rint((1.0 - found.shares[named].astype(np.float64) / ahead) * PRIORITY_SCALE).astype(
            np.int64
        ),
    )
    layer, expert = np.nonzero(best <= PRIORITY_SCALE)
    # The first layers are named when a pass starts, and starts stand behind all gates.
    start = len(foresight.passes) * num_layers + index
    gate = np.where(
        layer < distance, start, index * num_layers + moe_layers[np.maximum(layer - distance, 0)]
    )
    return np.stack([gate, best[layer, expert], moe_layers[layer], expert], axis=1)
