"""A study of cache policies on long streams: models by sizes by policies, against the optimum."""

import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import floor

from sim.model.model import Model
from sim.runtimes.caching.replay import POLICIES, Replayed, ReplayedStream
from sim.runtimes.caching.stream import ExpertStream

OPTIMUM = "optimum"
NUM_THREADS = 2

StreamOf = Callable[[Model, int], ExpertStream]
"""The stream of a model's layer, by the number of the layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStudy:
    """What to replay: models, shares of a layer's experts, and how many layers of each model."""

    models: Sequence[Model]
    shares: Sequence[float]
    num_layers: int
    stream_of: StreamOf


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRow:
    """One policy with one size in one model, over the layers replayed.

    ``reads_per_token`` counts misses of all MoE layers, as if all were like those replayed.
    """

    model: str
    share: float
    slots: int
    policy: str
    miss_fraction: float
    admitted_fraction: float
    reads_per_token: float
    over_optimum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMedian:
    """The median over models of a policy's misses over the optimum's."""

    share: float
    policy: str
    over_optimum: float


def run_cache_study(study: CacheStudy) -> list[CacheRow]:
    """Replay every policy with every size on every model; of each size, the optimum comes first.

    Layers are replayed in threads, since kernels hold no lock.
    """
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        tasks = [
            (model, pool.submit(_replay_layer, study, model, layer))
            for model in study.models
            for layer in range(study.num_layers)
        ]
        done = [(model, task.result()) for model, task in tasks]
    rows = []
    for model in study.models:
        # By identity: two models may share a name in different formats.
        layers = [found for other, found in done if other is model]
        rows += _rows(study, model, layers)
    return rows


def medians(rows: Sequence[CacheRow]) -> list[CacheMedian]:
    """The medians over models, by share and policy in the rows' order."""
    keys = dict.fromkeys((row.share, row.policy) for row in rows)
    return [
        CacheMedian(
            share=share,
            policy=policy,
            over_optimum=statistics.median(
                row.over_optimum for row in rows if (row.share, row.policy) == (share, policy)
            ),
        )
        for share, policy in keys
    ]


def slots_of(model: Model, share: float) -> int:
    """Return how many experts of a layer a share stands for: at least one, and never all."""
    # With all experts held there is no policy to compare.
    # Halves are rounded up, as in the published study.
    return min(model.num_experts - 1, max(1, floor(model.num_experts * share + 0.5)))


def _replay_layer(study: CacheStudy, model: Model, layer: int) -> dict[tuple[float, str], Replayed]:
    stream = ReplayedStream(stream=study.stream_of(model, layer))
    return {
        (share, policy): stream.replay(policy, slots_of(model, share))
        for share in study.shares
        for policy in POLICIES
    }


def _rows(
    study: CacheStudy, model: Model, layers: Sequence[dict[tuple[float, str], Replayed]]
) -> list[CacheRow]:
    rows = []
    for share in study.shares:
        best = _summed([own[share, OPTIMUM] for own in layers])
        for policy in POLICIES:
            found = _summed([own[share, policy] for own in layers])
            rows.append(
                CacheRow(
                    model=model.name,
                    share=share,
                    slots=slots_of(model, share),
                    policy=policy,
                    miss_fraction=found.miss_fraction,
                    admitted_fraction=found.admitted_fraction,
                    reads_per_token=found.miss_fraction * model.top_k * len(model.moe_layers),
                    over_optimum=found.num_misses / max(1, best.num_misses),
                )
            )
    return rows


def _summed(layers: Sequence[Replayed]) -> Replayed:
    return Replayed(
        num_choices=sum(own.num_choices for own in layers),
        num_misses=sum(own.num_misses for own in layers),
        num_copies=sum(own.num_copies for own in layers),
    )
