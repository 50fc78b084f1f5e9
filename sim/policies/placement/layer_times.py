"""The expected time of a layer's experts, by how many of its most popular ones the GPU holds."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sim.model import layer_shapes
from sim.policies.dispatch.spilling import around
from sim.policies.placement.spill_times import spill_times
from sim.policies.problem import Problem
from sim.routing.generated import draw
from sim.workload import forward_passes

Misses = Literal["cpu", "fetch", "cheapest", "balanced", "spill"]
"""What is foreseen to happen to missing experts; ``spill``: to residents too, see SpillDispatch."""

SAMPLE_SEED = 20240207
"""Seed of the sampled tokens: a placement depends on the popularity, not on the routing it will be tried on."""
MAX_SAMPLED_TOKENS = 1024
"""Passes of more tokens are weighed at the expected tokens of each expert; smaller ones by sampling."""
MAX_SAMPLES = 64
MAX_SPLIT_EXPERTS = 16
"""Up to this many selected experts of a layer, every split over CPU and link is tried."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lanes:
    """Work in ns [sample, expert from the most to the least popular] of one layer: by lane, and per missing expert's copy."""

    gpu: NDArray[np.float64]
    cpu: NDArray[np.float64]
    copy: NDArray[np.float64]


def layer_times_ns(problem: Problem, misses: Misses) -> NDArray[np.float64]:
    """Expected ns over the whole batch [layer, number of residents from 0 to all], the most popular experts being resident.

    Sampled on tokens drawn independently from the popularity. Lanes end together in a layer; with a serial overlap they add up.
    """
    passes = forward_passes(problem.batch, problem.feeding)
    times = np.zeros((problem.model.num_layers, problem.model.num_experts + 1))
    is_serial = problem.overlap.is_serial(passes.is_prefill)
    kinds = np.stack([passes.num_tokens, is_serial.astype(np.int32)], axis=1)
    for (size, serial), count in zip(*np.unique(kinds, axis=0, return_counts=True), strict=True):
        tokens = _sampled_tokens(problem, int(size))
        work = _work(problem, tokens)
        if misses == "spill" and not serial:
            times += count * _spill_times(problem, int(size), tokens, work)
            continue
        for layer, lanes in work:
            times[layer] += count * _mean_time(lanes, misses, is_serial=bool(serial))
    return times


def _spill_times(problem: Problem, size: int, tokens: NDArray[np.int64], work: list[tuple[int, _Lanes]]) -> NDArray[np.float64]:
    """Mean ns [layer, residents] of a pass of that many tokens."""
    shape_of, beside = layer_shapes(problem.model)[1], around(problem, np.array([size], np.int64), may_spill=True)
    times = np.zeros((problem.model.num_layers, problem.model.num_experts + 1))
    for row, (layer, lanes) in enumerate(work):
        dense_ns = beside.dense[0, shape_of[layer]]
        ranked = np.ascontiguousarray(tokens[:, row])
        where = dense_ns, size, beside.activations, beside.fixed
        spill_times(ranked, lanes.cpu, lanes.gpu, lanes.copy, *where, MAX_SPLIT_EXPERTS, times[layer])
    return times


def by_popularity(problem: Problem) -> NDArray[np.int64]:
    """Experts of every layer [layer, rank], the most popular first, ties to the lower number."""
    return np.argsort(-problem.popularity, axis=1, kind="stable")


def _sampled_tokens(problem: Problem, size: int) -> NDArray[np.int64]:
    """Tokens per expert [sample, MoE layer, rank of popularity] of passes of that many tokens."""
    model = problem.model
    popularity = np.sort(problem.popularity[list(model.moe_layers)], axis=1)[:, ::-1].copy()
    if size > MAX_SAMPLED_TOKENS:
        expected: NDArray[np.float64] = np.rint(np.minimum(1.0, model.top_k * popularity) * size)
        return expected.astype(np.int64)[None]
    num_samples = max(1, min(MAX_SAMPLES, MAX_SAMPLED_TOKENS // size))
    chosen = draw(popularity, num_samples * size, model.top_k, np.random.default_rng(SAMPLE_SEED))
    tokens = np.zeros((num_samples, *popularity.shape), np.int64)
    sample = np.repeat(np.arange(num_samples), size)[:, None, None]
    layer = np.arange(popularity.shape[0])[None, :, None]
    np.add.at(tokens, (sample, layer, chosen), 1)
    return tokens


def _work(problem: Problem, tokens: NDArray[np.int64]) -> list[tuple[int, _Lanes]]:
    """The lanes of every MoE layer."""
    costs, model = problem.costs, problem.model
    representatives, shape_of = layer_shapes(model)
    most = int(tokens.max())
    tables = {
        layer: tuple(costs.expert_table(device, layer, most).astype(np.float64) for device in ("gpu", "cpu"))
        for layer in representatives
        if model.layers[layer].is_moe
    }
    found = []
    for row, layer in enumerate(model.moe_layers):
        gpu, cpu = tables[representatives[shape_of[layer]]]
        ranked = tokens[:, row]
        copy_ns = float(costs.copy("h2d", model.layers[layer].expert_bytes, is_pinned=problem.overlap.is_pinned).ns)
        found.append((layer, _Lanes(gpu=gpu[ranked], cpu=cpu[ranked], copy=np.where(ranked > 0, copy_ns, 0.0))))
    return found


def _mean_time(lanes: _Lanes, misses: Misses, *, is_serial: bool) -> NDArray[np.float64]:
    """Mean ns over the samples for 0, 1, … all residents."""
    resident = _from_start(lanes.gpu)
    fetched = lanes.copy + lanes.gpu
    if misses == "balanced" and not is_serial:
        return np.asarray(np.maximum(resident, _split_ns(lanes.cpu, fetched)).mean(axis=0))
    stays = {"cpu": np.ones_like(lanes.cpu, bool), "fetch": np.zeros_like(lanes.cpu, bool)}.get(misses, lanes.cpu <= fetched)
    on_cpu, on_link = _to_end(np.where(stays, lanes.cpu, 0)), _to_end(np.where(stays, 0, fetched))
    together = resident + on_cpu + on_link if is_serial else np.maximum(resident, np.maximum(on_cpu, on_link))
    return np.asarray(together.mean(axis=0))


def _split_ns(cpu: NDArray[np.float64], fetched: NDArray[np.float64]) -> NDArray[np.float64]:
    """When the best split of the misses over CPU and link ends [sample, residents].

    Few selected experts: every split is tried. Many: they are taken as divisible, so that both lanes end together.
    """
    is_active = cpu > 0
    most = int(is_active.sum(axis=1).max())
    if most > MAX_SPLIT_EXPERTS:
        on_cpu, on_link = _to_end(cpu), _to_end(fetched)
        return np.divide(on_cpu * on_link, on_cpu + on_link, out=np.zeros_like(on_cpu), where=on_cpu + on_link > 0)
    places = np.argsort(~is_active, axis=1, kind="stable")[:, :most]
    cpu_of, fetch_of = np.take_along_axis(cpu, places, 1), np.take_along_axis(fetched, places, 1)
    ends = np.stack([_best_split(cpu_of[:, first:], fetch_of[:, first:]) for first in range(most + 1)], axis=1)
    num_held = _from_start(is_active.astype(np.float64)).astype(np.int64)
    return np.take_along_axis(ends, num_held, 1)


def _best_split(cpu: NDArray[np.float64], fetched: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per sample, the earliest end of max(CPU, link) when the m cheapest on the CPU stay there, over all m."""
    order = np.argsort(cpu, axis=1)
    on_cpu = _from_start(np.take_along_axis(cpu, order, 1))
    return np.asarray(np.maximum(on_cpu, _to_end(np.take_along_axis(fetched, order, 1))).min(axis=1))


def _from_start(work: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the first r experts, for r from 0 to all."""
    return np.concatenate([np.zeros((len(work), 1)), np.cumsum(work, axis=1)], axis=1)


def _to_end(work: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of all but the first r experts, for r from 0 to all."""
    return np.asarray(work.sum(axis=1, keepdims=True) - _from_start(work))
