"""The expected time of a layer's experts, by how many of its most popular ones the GPU holds."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwprofiles.units import MIB
from sim.memo import num_array_bytes, remembered
from sim.model.model import layer_shapes
from sim.policies.problem import Problem
from sim.step.rules.around import Beside, around
from sim.step.rules.spill_times import spill_times
from sim.workload.batch import forward_passes

Misses = Literal["cpu", "fetch", "cheapest", "balanced", "split", "spill"]
"""What is foreseen to happen to missing experts. ``split``: they are split exactly, see
SpillDispatch; ``spill``: residents too.
"""

SAMPLE_SEED = 20240207
"""Seed of the sampled tokens, always the same: a placement depends on the popularity, not on the
routing that it will be tried on.
"""
MAX_SAMPLED_TOKENS = 1024
"""Passes of more tokens are weighed at the expected tokens of each expert; smaller ones by
sampling.
"""
MAX_SAMPLES = 64
RENAMINGS = 16
"""Copies of each sample, with its experts renamed at random, where all experts of a layer are
equally popular.
"""
MOST_SAMPLES_BYTES = 64 * MIB
"""Memory for samples of tokens. A sample serves all fates of misses, ways of feeding, and
machines.
"""
MAX_SPLIT_EXPERTS = 16
"""Up to this many selected experts of a layer, misses are split expert by expert; more are taken as
divisible.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lanes:
    """Work in ns of the experts of one layer, by lane: runs on the GPU, runs on the CPU, copies.

    Each is [sample, expert from the most to the least popular].
    """

    gpu: NDArray[np.float64]
    cpu: NDArray[np.float64]
    copy: NDArray[np.float64]


def layer_times_ns(problem: Problem, misses: Misses) -> NDArray[np.float64]:
    """Return the expected ns over the whole batch [layer, number of residents from 0 to all], the
    most popular experts being resident.

    Tokens are sampled, drawn independently by popularity. A layer takes as long as its longest
    lane; with a serial overlap the lanes add up. Layers of one shape and popularity have exactly
    the same times.
    """
    first, same = _distinct_layers(problem)
    passes = forward_passes(problem.batch, problem.feeding)
    times = np.zeros((problem.model.num_layers, problem.model.num_experts + 1))
    is_serial = problem.overlap.is_serial(passes.is_prefill)
    kinds = np.stack([passes.num_tokens, is_serial.astype(np.int32)], axis=1)
    # Passes of one size are one case, which is sampled once and counted as often as it occurs.
    for (size, serial), count in zip(*np.unique(kinds, axis=0, return_counts=True), strict=True):
        for layer in first:
            tokens = _sampled_tokens(problem, layer, int(size))
            lanes = _lanes(problem, layer, tokens)
            if misses in ("split", "spill") and not serial:
                may_spill = misses == "spill"
                times[layer] += count * _spill_times(
                    problem, layer, int(size), tokens, lanes, may_spill=may_spill
                )
            else:
                times[layer] += count * _mean_time(lanes, misses, is_serial=bool(serial))
    times[list(problem.model.moe_layers)] = times[first][same]
    return times


def _distinct_layers(problem: Problem) -> tuple[list[int], NDArray[np.int64]]:
    """Return the MoE layers that differ in shape or in how popular their experts are.

    With them, for each MoE layer, comes the place of its like among these.
    """
    layers = np.array(problem.model.moe_layers)
    shapes = layer_shapes(problem.model)[1][layers]
    ranked = -np.sort(-problem.popularity[layers], axis=1)
    _, first, same = np.unique(
        np.column_stack([shapes, ranked]), axis=0, return_index=True, return_inverse=True
    )
    return layers[first].tolist(), same.ravel()


def _spill_times(
    problem: Problem,
    layer: int,
    size: int,
    tokens: NDArray[np.int64],
    lanes: _Lanes,
    *,
    may_spill: bool,
) -> NDArray[np.float64]:
    """Return the mean ns [number of residents] of a layer in a pass of ``size`` tokens, with misses
    split exactly; ``may_spill``: residents too.
    """
    beside = around(problem, np.array([size], np.int64), may_spill=may_spill)
    times = np.zeros(problem.model.num_experts + 1)
    shape = layer_shapes(problem.model)[1][layer]
    own = Beside(
        dense_ns=int(beside.dense[0, shape]),
        num_tokens=size,
        activations=beside.activations[shape],
        fixed=beside.fixed,
    )
    priced = np.stack([lanes.cpu, lanes.copy, lanes.gpu])
    # As wide as those of runs, or all that splits a layer would be compiled a second time.
    spill_times(tokens.astype(np.int32), priced, own, MAX_SPLIT_EXPERTS, times)
    return times


def by_popularity(problem: Problem) -> NDArray[np.int64]:
    """Experts of every layer [layer, rank], the most popular first, ties to the lower number."""
    return np.argsort(-problem.popularity, axis=1, kind="stable")


def _sampled_tokens(problem: Problem, layer: int, size: int) -> NDArray[np.int64]:
    """Return the tokens of each expert [sample, rank of popularity] of a layer in passes of
    ``size`` tokens. Large passes have one sample, of the expected tokens.
    """
    popularity = -np.sort(-problem.popularity[layer])
    top_k = problem.model.top_k
    # So many tokens come close to their mean, and a sample of them takes long.
    if size > MAX_SAMPLED_TOKENS:
        expected: NDArray[np.float64] = np.rint(np.minimum(1.0, top_k * popularity) * size)
        return expected.astype(np.int64)[None]
    return _samples(popularity.tobytes(), size, top_k)


@remembered(MOST_SAMPLES_BYTES, num_array_bytes)
def _samples(popularity_bytes: bytes, size: int, top_k: int) -> NDArray[np.int64]:
    """Return tokens per expert [sample, rank of popularity] under a popularity (float64, never
    rising).

    The array is shared: no caller may write to it.
    """
    popularity = np.frombuffer(popularity_bytes, np.float64)
    num_samples = max(1, min(MAX_SAMPLES, MAX_SAMPLED_TOKENS // size))
    generator = np.random.default_rng(SAMPLE_SEED)
    from sim.routing.generated import draw  # heavy, and only for placements that are asked

    chosen = draw(popularity[None], num_samples * size, top_k, generator)[:, 0]
    tokens = np.zeros((num_samples, len(popularity)), np.int64)
    np.add.at(tokens, (np.repeat(np.arange(num_samples), size)[:, None], chosen), 1)
    if popularity[0] > popularity[-1]:
        return tokens
    # Ranks of equal popularity mean nothing: other names make another sample of the same draw.
    return np.asarray(generator.permuted(np.repeat(tokens, RENAMINGS, axis=0), axis=1))


def _lanes(problem: Problem, layer: int, tokens: NDArray[np.int64]) -> _Lanes:
    """Return the work of every expert in every sample, in ns, given its ``tokens`` [sample, rank of
    popularity].
    """
    costs = problem.expert_costs
    num_bytes = problem.model.layers[layer].expert_bytes
    gpu, cpu = (
        costs.expert_table(device, layer, int(tokens.max())).astype(np.float64)[tokens]
        for device in ("gpu", "cpu")
    )
    # An expert that gets no token is not copied.
    copy_ns = float(costs.at(layer).copy("h2d", num_bytes, is_pinned=problem.overlap.is_pinned).ns)
    return _Lanes(gpu=gpu, cpu=cpu, copy=np.where(tokens > 0, copy_ns, 0.0))


def _mean_time(lanes: _Lanes, misses: Misses, *, is_serial: bool) -> NDArray[np.float64]:
    """Return the mean ns over the samples [number of residents from 0 to all]."""
    resident = _from_start(lanes.gpu)
    fetched = lanes.copy + lanes.gpu
    if misses == "balanced" and not is_serial:
        return np.asarray(np.maximum(resident, _split_ns(lanes.cpu, fetched)).mean(axis=0))
    # What the rule does to a miss does not depend on the others, but where lanes are balanced.
    stays = {"cpu": np.ones_like(lanes.cpu, bool), "fetch": np.zeros_like(lanes.cpu, bool)}.get(
        misses, lanes.cpu <= fetched
    )
    on_cpu = _to_end(np.where(stays, lanes.cpu, 0))
    on_link = _to_end(np.where(stays, 0, fetched))
    together = (
        resident + on_cpu + on_link
        if is_serial
        else np.maximum(resident, np.maximum(on_cpu, on_link))
    )
    return np.asarray(together.mean(axis=0))


def _split_ns(cpu: NDArray[np.float64], fetched: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return when the best split of the misses over CPU and link ends, in ns [sample, number of
    residents].

    Up to MAX_SPLIT_EXPERTS selected experts, ``_best_split`` finds it. More are taken as divisible,
    so that both lanes end together.
    """
    is_active = cpu > 0
    most = int(is_active.sum(axis=1).max())
    if most > MAX_SPLIT_EXPERTS:
        on_cpu = _to_end(cpu)
        on_link = _to_end(fetched)
        return np.divide(
            on_cpu * on_link,
            on_cpu + on_link,
            out=np.zeros_like(on_cpu),
            where=on_cpu + on_link > 0,
        )
    places = np.argsort(~is_active, axis=1, kind="stable")[:, :most]
    cpu_of = np.take_along_axis(cpu, places, 1)
    fetch_of = np.take_along_axis(fetched, places, 1)
    ends = np.stack(
        [_best_split(cpu_of[:, first:], fetch_of[:, first:]) for first in range(most + 1)], axis=1
    )
    num_held = _from_start(is_active.astype(np.float64)).astype(np.int64)
    return np.take_along_axis(ends, num_held, 1)


def _best_split(cpu: NDArray[np.float64], fetched: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each sample the earliest end of max(CPU, link), in ns, over all m.

    The m experts that are cheapest on the CPU run there; the others are fetched.
    """
    order = np.argsort(cpu, axis=1)
    on_cpu = _from_start(np.take_along_axis(cpu, order, 1))
    return np.asarray(
        np.maximum(on_cpu, _to_end(np.take_along_axis(fetched, order, 1))).min(axis=1)
    )


def _from_start(work: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of the first r experts [sample, r], for r from 0 to all."""
    return np.concatenate([np.zeros((len(work), 1)), np.cumsum(work, axis=1)], axis=1)


def _to_end(work: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of all but the first r experts [sample, r], for r from 0 to all."""
    return np.asarray(work.sum(axis=1, keepdims=True) - _from_start(work))
