"""What was busy when: the share of a run by the resources that worked at the same time."""

from collections.abc import Mapping

import numpy as np

from sim.timeline import Timeline


def occupancy(timeline: Timeline) -> dict[frozenset[str], float]:
    """The share of the run during which exactly those resources were busy; the empty set: none was. Shares sum to 1.

    A chunked task counts as busy from its start to its end. A run without a task gives nothing.
    """
    total = timeline.makespan_ns
    if total == 0:
        return {}
    used = timeline.end_ns > timeline.start_ns
    instants = np.concatenate([[0], timeline.start_ns[used], timeline.end_ns[used]])
    order = np.argsort(instants, kind="stable")
    lengths = np.diff(instants[order], append=total)
    owners = timeline.tasks.resource[used]
    states = np.zeros(len(instants), np.int64)
    for index in range(len(timeline.platform.resources)):
        changes = np.concatenate([[0], np.where(owners == index, 1, 0), np.where(owners == index, -1, 0)])
        states |= (np.cumsum(changes[order]) > 0).astype(np.int64) << index
    shares = np.bincount(states, weights=lengths) / total
    return {_names(timeline, state): float(shares[state]) for state in np.flatnonzero(shares).tolist()}


def alone(shares: Mapping[frozenset[str], float], resource: str) -> float:
    """The share of the run during which this resource was busy and no other."""
    return shares.get(frozenset({resource}), 0.0)


def _names(timeline: Timeline, state: int) -> frozenset[str]:
    return frozenset(resource.name for index, resource in enumerate(timeline.platform.resources) if state >> index & 1)
