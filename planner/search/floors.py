"""Floors in closed form: times that a candidate cannot beat, without any simulation.

A floor follows from what the candidate's lanes have to do. docs/explanation/bounds.md says what
every run obeys. Here the residency is the candidate's own, so a layer's misses are known. Every
figure is a lower limit: interference, queues, the hidden state's moves and activations are left
out.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.bounds.rounding import seconds_below
from planner.bounds.work import Floats, Work, work_of
from sim.costs.memory import Residency
from sim.memo import Memo
from sim.policies.actions import LayerMode
from sim.policies.dispatch.paged import PagedDispatch
from sim.policies.dispatch.rule import Rule
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.lowering.early import early_of
from sim.step.metrics import Metrics
from sim.step.simulate import Drawn
from sim.workload.batch import Batch

Marks = NDArray[np.bool_]

MOST_WORKS = 32
"""Ways of feeding whose priced work is kept: candidates cut prompts in a few sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Lower limits on a candidate's mean times over some draws, in seconds.

    ``ttft_s`` is to the first token, ``decode_s`` from there to the end, ``end_to_end_s`` of the
    whole run.
    """

    ttft_s: float
    decode_s: float
    end_to_end_s: float

    def metrics(self, batch: Batch) -> Metrics:
        """Return the best metrics that the floor leaves possible; those that no goal looks at are
        0.
        """
        end_s = max(self.end_to_end_s, float(np.finfo(float).tiny))
        steps = batch.output_tokens - 1
        known = {
            "ttft_s": self.ttft_s,
            "tpot_s": self.decode_s / steps if steps else 0.0,
            "end_to_end_s": end_s,
            "output_tokens_per_s": batch.batch_size * batch.output_tokens / end_s,
        }
        unknown: dict[str, Any] = {
            field.name: {} if field.name in ("utilization", "busy_s") else 0
            for field in fields(Metrics)
        }
        return Metrics(**(unknown | known))


class Floors:
    """Floors of many candidates on the same draws; work is priced once for all that feed the model
    alike.
    """

    def __init__(self) -> None:
        """Start with nothing priced."""
        self._works = Memo(MOST_WORKS)

    def floor(
        self, policy: Policy, problem: Problem, residency: Residency, draws: list[Drawn]
    ) -> Floor | None:
        """Return the floor over the draws; None for candidates that have none.

        Candidates without a floor have pipelined layers, are lossy, move experts after the prompt,
        or run on several GPUs.
        """
        if (
            # Their layers overlap, their tokens change, or their residents move, so that windows do
            # not add up.
            isinstance(policy.dispatch, PagedDispatch)
            or not policy.is_lossless
            or policy.placement.is_remade
            or problem.num_gpus > 1
        ):
            return None
        # Work is the cheapest price of everything, whatever the policy, so only the passes tell two
        # apart.
        works = self._works.get(
            policy.feeding,
            lambda: [
                work_of(problem, drawn.passes, drawn.tokens, drawn.selected) for drawn in draws
            ],
        )
        found = [
            _floor(policy, problem, residency, work, _early(policy, problem, residency, drawn))
            for work, drawn in zip(works, draws, strict=True)
        ]
        return Floor(
            ttft_s=float(np.mean([floor.ttft_s for floor in found])),
            decode_s=float(np.mean([floor.decode_s for floor in found])),
            end_to_end_s=float(np.mean([floor.end_to_end_s for floor in found])),
        )


def _early(policy: Policy, problem: Problem, residency: Residency, drawn: Drawn) -> Marks | None:
    """Return marks [pass, item] of experts whose copies begin ahead of their gates; None: there are
    none.
    """
    modes = policy.dispatch.layer_modes(residency, drawn.passes.num_tokens)
    found = early_of(policy, problem, residency, drawn.passes, modes).experts
    return found.reshape(len(found), -1) if len(found) else None


def _floor(
    policy: Policy, problem: Problem, residency: Residency, work: Work, early: Marks | None
) -> Floor:
    fed = work.num_tokens.astype(np.int32)
    modes = policy.dispatch.layer_modes(residency, fed)
    head_modes = policy.dispatch.head_modes(residency, fed)
    resident = (
        _fixed_cells(policy, residency, work, early)
        if policy.keeps_residency
        else _cached_cells(policy, problem, residency, work)
    )
    cells = work.experts.cell_of
    windows = work.serial_gpu + work.ffn_gpu
    windows.ravel()[cells] = work.serial_gpu.ravel()[cells] + resident
    # A streamed layer brings all of its experts, so none of them is missing.
    windows = np.where(
        modes == LayerMode.STREAM, work.serial_gpu + work.ffn_gpu + work.experts_gpu, windows
    )
    windows = np.where(modes == LayerMode.CPU, work.whole_cpu, windows)
    heads = np.where(head_modes == LayerMode.CPU, work.head_cpu, work.head_gpu)
    passes = windows.sum(axis=1) + heads + work.step_overhead
    link = (work.layer_fetch * (modes == LayerMode.STREAM)).sum() + work.head_fetch * (
        (head_modes == LayerMode.STREAM) & (heads > 0)
    ).sum()
    # Where every miss is copied, what a layer has no slot for goes over the link in any case.
    if not policy.keeps_residency and policy.dispatch.rule == Rule.FETCH:
        link += float(
            (
                _overflow(policy, problem, residency, work) * work.fetch[cells % work.num_layers]
            ).sum()
        )
    first, rest = (float(passes[which].sum()) for which in (work.is_prefill, ~work.is_prefill))
    return Floor(
        ttft_s=seconds_below(first),
        decode_s=seconds_below(rest),
        end_to_end_s=seconds_below(max(first + rest, float(link))),
    )


def _fixed_cells(policy: Policy, residency: Residency, work: Work, early: Marks | None) -> Floats:
    """Return the least ns of shared and routed experts behind the gate [cell of experts].

    Residents stay where they are; experts that ``early`` marks may have come.
    """
    experts = work.experts
    rule = policy.dispatch.rule
    is_miss = ~residency.experts.ravel()[experts.item]
    if early is not None:
        is_miss &= ~early[experts.cell // work.num_layers, experts.item]
    beside, fetch = _beside(work)
    on_cpu = np.where(is_miss, experts.cpu_ns, 0.0)
    misses = _summed(work, is_miss.astype(np.float64))
    on_gpu = beside + _summed(work, np.where(is_miss, 0.0, experts.gpu_ns))
    if rule == Rule.CPU:
        return np.maximum(on_gpu, _summed(work, on_cpu))
    if rule == Rule.FETCH:
        return np.maximum(beside + _summed(work, experts.gpu_ns), misses * fetch)
    copies = np.where(is_miss, _per_expert(work, fetch), 0.0)
    parts = _shared(work, on_cpu, copies, np.zeros(len(fetch)))
    whole = _split(misses, _least(work, np.where(is_miss, experts.cpu_ns, np.inf)), fetch)
    # Any expert may leave the GPU.
    if policy.dispatch.spills_residents:
        on_gpu = np.maximum(beside, _shared(work, experts.cpu_ns, experts.gpu_ns, beside))
    return np.maximum(on_gpu, np.maximum(parts, whole))


def _cached_cells(policy: Policy, problem: Problem, residency: Residency, work: Work) -> Floats:
    """Return the least ns of experts behind the gate [cell of experts], where residents come and
    go.

    Any expert may be resident. A layer has no more residents than slots, unless experts are fetched
    ahead.
    """
    experts = work.experts
    beside, fetch = _beside(work)
    misses = (
        np.zeros(len(beside))
        if policy.prefetch.is_active
        else _overflow(policy, problem, residency, work)
    )
    if policy.dispatch.rule == Rule.FETCH:
        return np.maximum(beside + _summed(work, experts.gpu_ns), misses * fetch)
    either = np.maximum(beside, _shared(work, experts.cpu_ns, experts.gpu_ns, beside))
    return np.maximum(either, _split(misses, _least(work, experts.cpu_ns), fetch))


def _overflow(policy: Policy, problem: Problem, residency: Residency, work: Work) -> Floats:
    """Return how many experts of a cell cannot have stayed since the pass before [cell of experts].

    A layer keeps no more experts than it has slots and buffers. A cache over all layers has no such
    limit.
    """
    if policy.cache.is_global:
        return np.zeros(len(work.experts.cell_of))
    slots = residency.experts.sum(axis=1) + (
        problem.overlap.staging_experts if policy.prefetch.is_active else 0
    )
    return np.asarray(
        np.maximum(
            0.0, np.diff(work.experts.offsets) - slots[work.experts.cell_of % work.num_layers]
        )
    )


def _beside(work: Work) -> tuple[Floats, Floats]:
    """Return the ns of the GPU's work beside routed experts, and of one expert's copy [cell of
    experts].
    """
    return work.beside_gpu.ravel()[work.experts.cell_of], work.fetch[
        work.experts.cell_of % work.num_layers
    ]


def _shared(work: Work, one: Floats, other: Floats, beside: Floats) -> Floats:
    """Return a lower limit in ns for two lanes that share out the experts [cell of experts].

    ``one`` and ``other`` [triple] are an expert's ns on either lane; the other lane has ``beside``
    to do in any case. The longer lane is at least any weighted mean of both, so at least the sum of
    each expert's cheaper lane, so weighted. The weights are those that would be best if all experts
    were alike.
    """
    first = _summed(work, one)
    second = beside + _summed(work, other)
    weight = np.divide(first, first + second, out=np.zeros(len(first)), where=first + second > 0)
    of_one = _per_expert(work, 1 - weight)
    of_other = _per_expert(work, weight)
    return weight * beside + _summed(work, np.minimum(of_one * one, of_other * other))


def _split(misses: Floats, cheapest: Floats, fetch: Floats) -> Floats:
    """Return the least ns of the longer of CPU and link, with whole experts [cell of experts].

    Some of the misses run on the CPU, ``cheapest`` ns each. The rest are copied, ``fetch`` ns each.
    """
    price = np.where(np.isfinite(cheapest), cheapest, 0.0)
    even = np.floor(
        np.divide(misses * fetch, price + fetch, out=np.zeros(len(misses)), where=price + fetch > 0)
    )
    longest = [
        np.maximum(count * price, (misses - count) * fetch)
        for count in (even, np.minimum(even + 1, misses))
    ]
    return np.asarray(np.minimum(*longest))


def _per_expert(work: Work, values: Floats) -> Floats:
    """Return each cell's value for each of its experts [triple]."""
    return np.repeat(values, np.diff(work.experts.offsets))


def _summed(work: Work, values: Floats) -> Floats:
    """Return the sum over each cell's experts [cell of experts]."""
    return (
        np.asarray(np.add.reduceat(values, work.experts.offsets[:-1]))
        if len(values)
        else np.zeros(0)
    )


def _least(work: Work, values: Floats) -> Floats:
    """Return the least over each cell's experts [cell of experts]."""
    return (
        np.asarray(np.minimum.reduceat(values, work.experts.offsets[:-1]))
        if len(values)
        else np.zeros(0)
    )
