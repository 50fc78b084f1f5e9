"""What was busy when: the share of a run by the resources that worked at the same time."""

from collections.abc import Mapping

import numpy as np

from sim.engine.timeline import Timeline


def occupancy(timeline: Timeline, *, is_merged: bool = False) -> dict[frozenset[str], float]:
    """The share of the run during which exactly those resources were busy; the empty set: none was.
    Shares sum to 1.

    ``is_merged``: those of further GPUs count as GPU 0's. A chunked task counts as busy from its
    start to its end. A run without a task gives nothing.
    """
    total = timeline.makespan_ns
    if total == 0:
        return {}
    used = timeline.end_ns > timeline.start_ns
    # The instant 0 makes time before the first task count.
    instants = np.concatenate([[0], timeline.start_ns[used], timeline.end_ns[used]])
    order = np.argsort(instants, kind="stable")
    lengths = np.diff(instants[order], append=total)
    owners = timeline.tasks.resource[used]
    # A set of busy resources is one number, with a bit for each of them.
    states = np.zeros(len(instants), np.int64)
    for index in range(len(timeline.platform.resources)):
        changes = np.concatenate(
            [[0], np.where(owners == index, 1, 0), np.where(owners == index, -1, 0)]
        )
        states |= (np.cumsum(changes[order]) > 0).astype(np.int64) << index
    found, which = np.unique(states, return_inverse=True)
    shares = np.bincount(which, weights=lengths) / total
    totals: dict[frozenset[str], float] = {}
    for state, share in zip(found.tolist(), shares.tolist(), strict=True):
        # Between two changes at one instant no time passes.
        if share:
            names = _names(timeline, state)
            names = frozenset(on_one_gpu(name)[0] for name in names) if is_merged else names
            totals[names] = totals.get(names, 0.0) + share
    return totals


def on_one_gpu(resource: str) -> tuple[str, int]:
    """What the resource would be called on GPU 0, and the GPU that it belongs to:

    ``h2d2`` is ``h2d`` of GPU 2.
    """
    name = resource.rstrip("0123456789")
    return name, int(resource[len(name) :] or 0)


def alone(shares: Mapping[frozenset[str], float], resource: str) -> float:
    """The share of the run during which this resource was busy and no other."""
    return shares.get(frozenset({resource}), 0.0)


def _names(timeline: Timeline, state: int) -> frozenset[str]:
    return frozenset(
        resource.name
        for index, resource in enumerate(timeline.platform.resources)
        if state >> index & 1
    )
