"""The figures of a run: times, hits, bytes, and how busy each resource was."""

from dataclasses import dataclass, replace
from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S
from sim.engine.compilation import kernel
from sim.engine.task import TaskKind
from sim.engine.timeline import Timeline
from sim.policies.actions import ON_CPU, Action, LayerMode
from sim.policies.foresight import Foresight
from sim.policies.problem import Problem
from sim.step.execute import Execution
from sim.step.lowering.decisions import Decisions
from sim.workload.batch import Batch, Passes

Rows = NDArray[Any]
STAGED = (TaskKind.FETCH, TaskKind.EARLY_FETCH, TaskKind.LAYER_FETCH, TaskKind.PAGE)
"""Kinds of copies that go into staging buffers."""
_IS_STAGED = np.isin(np.arange(len(TaskKind)), STAGED)
_IS_PREFETCH = np.isin(np.arange(len(TaskKind)), (TaskKind.PREFETCH, TaskKind.EARLY_FETCH))
_IDLE = int(Action.IDLE)
_RESIDENT = int(Action.RESIDENT)
_ON_CPU = tuple(int(action) for action in ON_CPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The figures of one single-batch run; units are in the names.

    ``expert_hit_rate`` counts (token, expert) selections whose weights were on the GPU when the
    gate made them, wherever they run; ``decode_expert_misses_per_step`` counts distinct experts per
    decode step that were not. ``num_resident_experts`` is at time 0. Expert calls count (expert,
    layer, pass). ``utilization`` is busy time over the whole run, by resource; the run lasts beyond
    ``end_to_end_s`` where a needless prefetch is still on its way.
    """

    ttft_s: float
    tpot_s: float
    end_to_end_s: float
    output_tokens_per_s: float
    prefill_tokens_per_s: float
    expert_hit_rate: float
    decode_expert_misses_per_step: float
    num_resident_experts: int
    h2d_bytes: int
    d2h_bytes: int
    cpu_expert_calls: int
    gpu_expert_calls: int
    prefetched_bytes: int
    wasted_prefetch_bytes: int
    peak_gpu_memory_bytes: int
    utilization: dict[str, float]
    busy_s: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The whole numbers from which metrics are computed; those of parts can be added up.

    ``first_token_ns`` is None in a part without a prompt. ``counts`` are those of _count_experts.
    ``staged_bytes`` [GPU] is the most bytes in staging buffers at once.
    """

    first_token_ns: int | None
    end_ns: int
    makespan_ns: int
    busy_ns: dict[str, int]
    h2d_bytes: int
    d2h_bytes: int
    prefetched_bytes: int
    wasted_prefetch_bytes: int
    staged_bytes: tuple[int, ...]
    counts: tuple[int, ...]

    def followed_by(self, later: "Totals") -> "Totals":
        """Return the totals of this part and of a later one that begins when all of
        this has ended.
        """
        return Totals(
            first_token_ns=self.first_token_ns,
            end_ns=self.makespan_ns + later.end_ns,
            makespan_ns=self.makespan_ns + later.makespan_ns,
            busy_ns={name: ns + later.busy_ns[name] for name, ns in self.busy_ns.items()},
            h2d_bytes=self.h2d_bytes + later.h2d_bytes,
            d2h_bytes=self.d2h_bytes + later.d2h_bytes,
            prefetched_bytes=self.prefetched_bytes + later.prefetched_bytes,
            wasted_prefetch_bytes=self.wasted_prefetch_bytes + later.wasted_prefetch_bytes,
            staged_bytes=tuple(map(max, self.staged_bytes, later.staged_bytes)),
            counts=tuple(map(add, self.counts, later.counts)),
        )

    def continued_by(self, later: "Totals") -> "Totals":
        """Return the totals of this part and of a later one on the same clock.

        Tasks of this part may end during the later one.
        """
        joined = self.followed_by(later)
        return replace(
            joined,
            first_token_ns=self.first_token_ns
            if later.first_token_ns is None
            else later.first_token_ns,
            end_ns=later.end_ns,
            makespan_ns=max(self.makespan_ns, later.makespan_ns),
        )


def measure(
    execution: Execution,
    batch: Batch,
    foresight: Foresight,
    selected: NDArray[np.int64],
    *,
    num_resident_experts: int,
    fixed_bytes: tuple[int, ...],
) -> Metrics:
    """Compute the metrics of an execution.

    ``selected`` are the indices of experts with tokens in its ``tokens``, flattened.
    ``fixed_bytes`` [GPU] are held throughout.
    """
    totals = totals_of(execution, foresight, selected)
    return metrics_of(
        totals, batch, num_resident_experts=num_resident_experts, fixed_bytes=fixed_bytes
    )


def totals_of(execution: Execution, foresight: Foresight, selected: NDArray[np.int64]) -> Totals:
    """Compute the totals of an execution of a run or a part; ``selected`` is as in ``measure``."""
    timeline = execution.timeline
    passes = foresight.passes
    ends_ns = timeline.end_ns[execution.last_task]
    prompt_ends_ns = ends_ns[passes.is_prefill]
    return Totals(
        # The last of several prompts: the batch goes on together.
        first_token_ns=int(prompt_ends_ns[-1]) if len(prompt_ends_ns) else None,
        end_ns=int(ends_ns[-1]),
        makespan_ns=timeline.makespan_ns,
        busy_ns=timeline.busy_by_resource_ns(),
        **_copied_bytes(timeline),
        wasted_prefetch_bytes=execution.wasted_prefetch_bytes,
        staged_bytes=most_staged(timeline, foresight.problem),
        counts=expert_counts(selected, execution.tokens, execution.decisions, passes),
    )


def metrics_of(
    totals: Totals, batch: Batch, *, num_resident_experts: int, fixed_bytes: tuple[int, ...]
) -> Metrics:
    """Compute the metrics of a run from its totals.

    Raises InputError for a prompt that takes no time, because it has no speed.
    """
    assert totals.first_token_ns is not None, "a run begins with its prompts"
    if not totals.first_token_ns:
        raise InputError(
            "every operation of a prompt takes less than a nanosecond on this machine, and times are whole ones"
        )
    first_token_s = totals.first_token_ns / NS_PER_S
    total_s = totals.end_ns / NS_PER_S
    decode_steps = batch.output_tokens - 1
    busy_s = {name: ns / NS_PER_S for name, ns in totals.busy_ns.items()}
    hit_tokens, all_tokens, missed, on_cpu, active = totals.counts
    return Metrics(
        ttft_s=first_token_s,
        # The first token is the prompt's: the steps behind it are one fewer than the tokens.
        tpot_s=(total_s - first_token_s) / decode_steps if decode_steps else 0.0,
        end_to_end_s=total_s,
        output_tokens_per_s=batch.batch_size * batch.output_tokens / total_s,
        prefill_tokens_per_s=batch.batch_size * batch.prompt_tokens / first_token_s,
        expert_hit_rate=float(hit_tokens / max(1, all_tokens)),
        decode_expert_misses_per_step=float(missed / max(1, decode_steps)),
        num_resident_experts=num_resident_experts,
        h2d_bytes=totals.h2d_bytes,
        d2h_bytes=totals.d2h_bytes,
        cpu_expert_calls=on_cpu,
        gpu_expert_calls=active - on_cpu,
        prefetched_bytes=totals.prefetched_bytes,
        wasted_prefetch_bytes=totals.wasted_prefetch_bytes,
        peak_gpu_memory_bytes=max(map(add, fixed_bytes, totals.staged_bytes)),
        utilization={name: ns / totals.makespan_ns for name, ns in totals.busy_ns.items()},
        busy_s=busy_s,
    )


def _copied_bytes(timeline: Timeline) -> dict[str, int]:
    """Return the bytes over each direction of the link and of prefetches; dropped ones do not
    count.
    """
    tasks = timeline.tasks
    moved = np.zeros(len(timeline.platform.resources), np.int64)
    prefetched = np.zeros(1, np.int64)
    copied = _Copied(tasks.resource, tasks.kind, tasks.num_bytes, timeline.is_dropped)
    _count_bytes(copied, _IS_PREFETCH, moved, prefetched)
    return {
        "h2d_bytes": int(moved[_copiers(timeline, "h2d")].sum()),
        "d2h_bytes": int(moved[_copiers(timeline, "d2h")].sum()),
        "prefetched_bytes": int(prefetched[0]),
    }


class _Copied(NamedTuple):
    """Columns of all tasks that say what was copied."""

    resource: Rows
    kind: Rows
    num_bytes: Rows
    is_dropped: Rows


@kernel
def _count_bytes(tasks: _Copied, is_prefetch: Rows, moved: Rows, prefetched: Rows) -> None:
    """Add up the bytes that each resource ``moved``, and the ``prefetched`` bytes among them."""
    for task in range(len(tasks.resource)):
        if not tasks.is_dropped[task]:
            num_bytes = tasks.num_bytes[task]
            moved[tasks.resource[task]] += num_bytes
            if is_prefetch[tasks.kind[task]]:
                prefetched[0] += num_bytes


def _copiers(timeline: Timeline, way: str) -> list[int]:
    """Return the numbers of the resources that copy in the direction ``way``, one for each GPU."""
    return [
        number
        for number, resource in enumerate(timeline.platform.resources)
        if resource.name.startswith(way)
    ]


def expert_counts(
    selected: NDArray[np.int64],
    tokens: NDArray[np.int32],
    decisions: Decisions,
    passes: Passes,
) -> tuple[int, ...]:
    """Return the counts of ``_count_experts``; ``selected`` is as in ``measure``."""
    counts = np.zeros(5, np.int64)
    can_hit = (decisions.modes == LayerMode.GPU) | (decisions.modes == LayerMode.PIPELINE)
    spilled = np.zeros(0, np.bool_) if decisions.spilled is None else decisions.spilled.ravel()
    is_decode = np.repeat(~passes.is_prefill, tokens.shape[1])
    decided = _Decided(
        tokens.ravel(), decisions.actions.ravel(), can_hit.ravel(), spilled, is_decode
    )
    _count_experts(selected, decided, counts)
    return tuple(counts.tolist())


class _Decided(NamedTuple):
    """What was decided, as flat arrays.

    ``can_hit`` and ``is_decode`` have an entry for each pass and layer, the others for each pass,
    layer and expert. ``spilled`` is empty if no expert spills.
    """

    tokens: Rows
    actions: Rows
    can_hit: Rows
    spilled: Rows
    is_decode: Rows


@kernel
def _count_experts(selected: Rows, decided: _Decided, counts: Rows) -> None:
    """Fill ``counts`` over the ``selected`` places: tokens of hits, all tokens, misses while
    decoding, experts on the CPU, and all experts.
    """
    tokens = decided.tokens
    can_hit = decided.can_hit
    spilled = decided.spilled
    num_experts = len(tokens) // len(can_hit)
    row = 0
    end = num_experts
    for place in selected:
        # Places ascend, so that the row goes on with them and nothing is divided.
        while place >= end:
            row = row + 1
            end = end + num_experts
        action = decided.actions[place]
        fed = tokens[place]
        counts[1] += fed
        is_hit = (action == _RESIDENT and can_hit[row]) or (len(spilled) > 0 and spilled[place])
        if is_hit:
            counts[0] += fed
        if action != _IDLE:
            counts[2] += not is_hit and decided.is_decode[row]
            counts[3] += action in _ON_CPU
            counts[4] += 1


def staged_bytes(
    timeline: Timeline, layer_share: float, gpu: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return instants (ns, ascending) and the bytes in a GPU's staging buffers from each of them
    on.

    Bytes are staged from the start of a copy to its last use. Of a layer that is copied whole, only
    the share ``layer_share`` is staged at a time.
    """
    tasks = timeline.tasks
    is_there = tasks.resource == timeline.platform.index(f"h2d{gpu or ''}")
    copies = np.flatnonzero(is_there & _IS_STAGED[tasks.kind])
    ends = _last_use_ns(timeline, copies, timeline.platform.index(f"gpu{gpu or ''}"))
    is_layer = tasks.kind[copies] == TaskKind.LAYER_FETCH
    sizes = np.where(
        is_layer, (tasks.num_bytes[copies] * layer_share).astype(np.int64), tasks.num_bytes[copies]
    )
    instants = np.concatenate([ends, timeline.start_ns[copies]])
    # Ends first: sorting keeps their order, so that a buffer is free at the instant it is taken.
    changes = np.concatenate([-sizes, sizes])
    order = np.argsort(instants, kind="stable")
    return instants[order], np.cumsum(changes[order])


def most_staged(timeline: Timeline, problem: Problem) -> tuple[int, ...]:
    """The most bytes at once in the staging buffers of each GPU."""
    layer_share = problem.overlap.staging_layer_share
    return tuple(
        round(peak_staged_bytes(timeline, layer_share, gpu) * problem.staged_fraction)
        for gpu in range(problem.num_gpus)
    )


def peak_staged_bytes(timeline: Timeline, layer_share: float, gpu: int = 0) -> int:
    """The most bytes in a GPU's staging buffers at once."""
    return int(staged_bytes(timeline, layer_share, gpu)[1].max(initial=0))


def last_paged_use_ns(timeline: Timeline) -> NDArray[np.int64]:
    """Return the end of the last work on the GPU in the step and layer of each task [task], in ns.

    A page stays in its buffer until then.
    """
    tasks = timeline.tasks
    place = tasks.step.astype(np.int64) * (int(tasks.layer.max()) + 2) + tasks.layer + 1
    on_gpu = tasks.resource == timeline.platform.index("gpu")
    last = np.zeros(int(place.max()) + 1, np.int64)
    np.maximum.at(last, place[on_gpu], timeline.end_ns[on_gpu])
    return np.asarray(last[place])


def _last_use_ns(timeline: Timeline, copies: NDArray[np.int64], gpu: int) -> NDArray[np.int64]:
    """Return when the weights of each copy were last used, in ns.

    This is the end of the latest task of the same pass that needs them. An expert's copy is used by
    the task after it, unless it came early. A layer's copy is used by every task of that layer and
    pass on the GPU, and so is each of its pages.
    """
    tasks = timeline.tasks
    ends = np.empty(len(copies), np.int64)
    is_expert = tasks.kind[copies] == TaskKind.FETCH
    ends[is_expert] = timeline.end_ns[copies[is_expert] + 1]
    is_early = tasks.kind[copies] == TaskKind.EARLY_FETCH
    if is_early.any():
        ends[is_early] = _early_use_ns(timeline, copies[is_early], gpu)
    is_page = tasks.kind[copies] == TaskKind.PAGE
    if is_page.any():
        pages = copies[is_page]
        last = last_paged_use_ns(timeline)[pages]
        # What is used behind a part of a run is counted where its uses are.
        ends[is_page] = np.where(last > 0, last, timeline.end_ns[pages])
    whole = np.flatnonzero(tasks.kind[copies] == TaskKind.LAYER_FETCH)
    if not len(whole):
        return ends
    following = np.append(copies[whole], len(tasks))[1:]
    on_gpu = np.where(tasks.resource == gpu, timeline.end_ns, 0)
    for position, (start, end) in enumerate(zip(copies[whole], following, strict=True)):
        uses = on_gpu[start:end][tasks.layer[start:end] == tasks.layer[start]]
        ends[whole[position]] = max(timeline.end_ns[start], uses.max(initial=0))
    return ends


def _early_use_ns(timeline: Timeline, copies: NDArray[np.int64], gpu: int) -> NDArray[np.int64]:
    """Return when each early copy has served, in ns.

    It has served at the end of the next run of its expert, if that comes before another copy.
    Otherwise it has served at its own end.
    """
    tasks = timeline.tasks
    place = tasks.layer.astype(np.int64) * (int(tasks.expert.max()) + 1) + tasks.expert
    runs = np.flatnonzero((tasks.kind == TaskKind.EXPERT) & (tasks.resource == gpu))
    both = np.concatenate([copies, runs])
    order = np.lexsort((both, place[both]))
    following = np.append(order[1:], order[-1])
    is_used = (
        (order < len(copies))
        & (following >= len(copies))
        & (place[both[order]] == place[both[following]])
    )
    last = copies.copy()
    last[order[is_used]] = both[following[is_used]]
    return np.asarray(timeline.end_ns[last])
