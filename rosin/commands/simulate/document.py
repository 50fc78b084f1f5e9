"""The figures of a simulated run, for its page and its JSON."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from hwprofiles import Kind
from hwprofiles.units import NS_PER_S
from rosin.cli.field_options import in_options
from rosin.report.json_documents import (
    Basis,
    HostMemory,
    Memory,
    MemoryItem,
    ResourceTime,
    ScenarioRecord,
    SimulateResult,
)
from rosin.report.occupancy import alone, occupancy
from sim.costs.cards import gpu_bytes
from sim.costs.memory import weight_bytes
from sim.engine.task import TaskKind
from sim.engine.timeline import Timeline
from sim.step.long import LongRun
from sim.step.provenance import RunProvenance
from sim.step.simulate import Run

IN_FLIGHT = "experts and layers in flight"


def run_result(run: Run, provenance: RunProvenance, scenario: ScenarioRecord) -> SimulateResult:
    """Return the document of one run."""
    return SimulateResult(
        scenario=scenario,
        metrics=run.metrics,
        time=resource_times(run),
        memory=run_memory(run),
        host_memory=host_memory(run),
        basis=run_basis(provenance),
        timeline_digest=run.timeline.digest,
    )


def run_warnings(run: Run | LongRun, provenance: RunProvenance) -> list[str]:
    """Return the warnings that a reader needs before trusting the figures.

    They are the run's own, with options in place of fields, and the measured curves that were
    extrapolated.
    """
    return [*map(in_options, run.warnings), *provenance.extrapolated]


def resource_times(run: Run) -> list[ResourceTime]:
    """Every resource that was busy at all, the busiest first."""
    shares = occupancy(run.timeline)
    times = [
        ResourceTime(
            resource=name,
            busy_s=busy_s,
            busy_fraction=run.metrics.utilization[name],
            alone_fraction=alone(shares, name),
            kinds_s=dict(_kinds(run.timeline, name)),
        )
        for name, busy_s in run.metrics.busy_s.items()
        if busy_s > 0
    ]
    return sorted(times, key=lambda time: -time.busy_s)


def _kinds(timeline: Timeline, resource: str) -> Iterator[tuple[str, float]]:
    """Yield each kind of task on one resource with its busy seconds, the most first."""
    on_it = timeline.tasks.resource == timeline.platform.index(resource)
    totals = np.bincount(timeline.tasks.kind[on_it], weights=timeline.busy_ns[on_it])
    # Stable, so that equal times keep the order of the kinds and equal runs read alike.
    for kind in np.argsort(-totals, kind="stable").tolist():
        if totals[kind] > 0:
            yield TaskKind(kind).name.lower(), float(totals[kind] / NS_PER_S)


def run_memory(run: Run | LongRun) -> Memory:
    """Return the items that GPU memory held, the largest first, and the most held at once."""
    held = dict(run.memory_items)
    # What is held at the peak beyond the items that stay was on its way.
    in_flight = run.metrics.peak_gpu_memory_bytes - sum(held.values())
    items = [
        MemoryItem(item=item, bytes=num_bytes)
        for item, num_bytes in (held | {IN_FLIGHT: in_flight}).items()
        if num_bytes
    ]
    return Memory(
        total_bytes=gpu_bytes(run.scenario.machine, run.scenario.split),
        peak_bytes=run.metrics.peak_gpu_memory_bytes,
        items=sorted(items, key=lambda item: -item.bytes),
    )


def host_items(run: Run | LongRun) -> dict[str, int]:
    """Return the bytes of the model that host memory holds throughout the run, by item.

    The items are experts, other weights, and the KV cache of layers whose cache is not on a GPU.
    Experts that the GPUs hold are included if the policy needs host copies.
    """
    scenario = run.scenario
    residency = run.residency
    model = scenario.model
    batch = scenario.batch
    sizes = np.array([layer.expert_bytes for layer in model.layers], np.int64)
    counts = np.array([layer.num_experts for layer in model.layers], np.int64)
    experts = int((counts * sizes).sum())
    on_gpu = int((residency.experts.sum(axis=1) * sizes).sum())
    others = model.total_bytes - experts - (weight_bytes(model, residency) - on_gpu)
    off_gpu = np.zeros(0, np.int64) if residency.kv is None else np.flatnonzero(~residency.kv)
    cache = sum(model.layer_kv_bytes(layer, batch.context_tokens) for layer in off_gpu.tolist())
    # Where experts come and go, host memory keeps a copy of each, also of those on the GPU.
    is_copied = scenario.policy.needs_host_copies
    found = {
        "experts": experts - (0 if is_copied else on_gpu),
        "weights outside experts": others,
        "KV cache": batch.num_sequences * cache,
    }
    return {item: num_bytes for item, num_bytes in found.items() if num_bytes}


def host_memory(run: Run | LongRun) -> HostMemory:
    """Return the size of host memory and the items of the model in it, the largest first."""
    stated = run.scenario.machine.cpu.memory_bytes
    held = host_items(run)
    return HostMemory(
        total_bytes=None if stated is None else int(stated.effective),
        held_bytes=sum(held.values()),
        items=[
            MemoryItem(item=item, bytes=num_bytes)
            for item, num_bytes in sorted(held.items(), key=lambda entry: -entry[1])
        ],
    )


def run_basis(provenance: RunProvenance) -> Basis:
    """Return the numbers that a run rests on, counted by kind of provenance."""
    counts = Counter(number.provenance.kind for number in provenance.numbers)
    return Basis(
        num_numbers={kind: counts[kind] for kind in Kind},
        numbers=list(provenance.numbers),
        routing=provenance.routing,
        model=provenance.model,
        extrapolated=list(provenance.extrapolated),
    )
