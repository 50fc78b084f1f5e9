"""The shares of a run by the set of resources that were busy at the same time."""

from collections.abc import Mapping

import numpy as np

from sim.engine.timeline import Timeline


def occupancy(timeline: Timeline, *, is_merged: bool = False) -> dict[frozenset[str], float]:
    """Return the share of the run during which exactly each set of resources was busy.

    The empty set stands for idle time, and the shares sum to 1. ``is_merged``: a resource of
    another GPU counts as the same resource of GPU 0. A chunked task counts as busy from its start
    to its end. A run without a task gives an empty mapping.
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
    """Return a resource's name on GPU 0, and the number of its GPU.

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
