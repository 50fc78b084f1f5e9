"""The figures of a run whose tasks are too many to keep, added up from its parts."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from hwprofiles.units import NS_PER_S
from rosin.commands.simulate.document import host_memory, run_basis, run_memory
from rosin.report.json_documents import ResourceTime, ScenarioRecord, SimulateResult
from rosin.report.occupancy import alone, occupancy
from sim.engine.task import TaskKind
from sim.step.provenance import (
    Outside,
    RunProvenance,
    devices_of,
    outside_of,
    provenance_with,
)

if TYPE_CHECKING:
    from sim.step.long import LongRun
    from sim.step.parts import Part


class PartsSeen:
    """The sums over the parts of a run, which are not kept, for the page and the JSON."""

    def __init__(self) -> None:
        """Start before the first part."""
        self._alone_ns: Counter[str] = Counter()
        self._kinds_ns: Counter[tuple[str, int]] = Counter()
        self._makespan_ns = 0
        self._outside: list[Outside] = []

    def look(self, part: "Part") -> None:
        """Add the busy times of a part to the sums."""
        timeline = part.timeline
        shares = occupancy(part.busy)
        lasted_ns = part.busy.makespan_ns
        self._makespan_ns += lasted_ns
        for number, resource in enumerate(timeline.platform.resources):
            # Shares of parts cannot be added up; times can.
            share = alone(shares, resource.name)
            self._alone_ns[resource.name] += round(share * lasted_ns)
            on_it = timeline.tasks.resource == number
            kinds = timeline.tasks.kind[on_it]
            totals = np.bincount(kinds, weights=timeline.busy_ns[on_it])
            for kind in np.flatnonzero(totals).tolist():
                self._kinds_ns[resource.name, kind] += round(totals[kind])
        busy_ns = timeline.busy_by_resource_ns()
        self._outside += outside_of(part.scenario, part, devices_of(busy_ns))

    def provenance(self, run: "LongRun") -> RunProvenance:
        """Return the provenance of the run, with the curves that any part extrapolated."""
        return provenance_with(run, self._outside)

    def result(
        self, run: "LongRun", provenance: RunProvenance, record: ScenarioRecord
    ) -> SimulateResult:
        """Return the document of the run."""
        return SimulateResult(
            scenario=record,
            metrics=run.metrics,
            time=self._times(run),
            memory=run_memory(run),
            host_memory=host_memory(run),
            basis=run_basis(provenance),
            timeline_digest=run.timeline_digest,
        )

    def _times(self, run: "LongRun") -> list[ResourceTime]:
        times = [
            ResourceTime(
                resource=name,
                busy_s=busy_s,
                busy_fraction=run.metrics.utilization[name],
                alone_fraction=self._alone_ns[name] / self._makespan_ns,
                kinds_s=self._kinds_s(name),
            )
            for name, busy_s in run.metrics.busy_s.items()
            if busy_s > 0
        ]
        return sorted(times, key=lambda time: -time.busy_s)

    def _kinds_s(self, name: str) -> dict[str, float]:
        found = [(kind, ns) for (resource, kind), ns in self._kinds_ns.items() if resource == name]
        # Ties keep the order of the kinds, as in a run that is kept whole.
        found.sort(key=lambda pair: (-pair[1], pair[0]))
        return {TaskKind(kind).name.lower(): ns / NS_PER_S for kind, ns in found}
