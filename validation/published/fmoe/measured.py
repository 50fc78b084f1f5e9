"""Runs of all systems at one point of the knobs, and the figures that these runs give."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean

from sim.step.metrics import Metrics
from validation.published.fmoe.foretold import foretold_share
from validation.published.fmoe.systems import BATCHES, DISTANCES, RunKnobs, run, scenario_of

Workload = tuple[str, str]
"""A model and a data set."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PointMetrics:
    """The metrics of every system on every workload, at one point."""

    point: RunKnobs
    by_system: Mapping[str, Mapping[Workload, Metrics]]

    def ratio(self, quantity: str, system: str) -> float:
        """fMoE's figure over that system's, the mean over workloads."""
        return mean(self.ratios(quantity, system).values())

    def ratios(self, quantity: str, system: str) -> dict[Workload, float]:
        """fMoE's figure over that system's, by workload."""
        own = self.by_system["fMoE"]
        other = self.by_system[system]
        return {
            workload: _read(own[workload], quantity) / _read(other[workload], quantity)
            for workload in own
        }

    def of(self, workloads: tuple[Workload, ...]) -> "PointMetrics":
        """Return the metrics of these workloads only."""
        kept = {
            system: {workload: found[workload] for workload in workloads}
            for system, found in self.by_system.items()
        }
        return PointMetrics(point=self.point, by_system=kept)

    def average(self, quantity: str, system: str) -> float:
        """A system's own figure, the mean over workloads."""
        return mean(_read(metrics, quantity) for metrics in self.by_system[system].values())


def measure(
    systems: tuple[str, ...], point: RunKnobs, seed: int, workloads: tuple[Workload, ...]
) -> PointMetrics:
    """Run every system over every workload at that point, and return their metrics."""
    return PointMetrics(
        point=point,
        by_system={
            system: {
                (model, data): run(system, model, BATCHES[data], point, seed)
                for model, data in workloads
            }
            for system in systems
        },
    )


def foretold(
    systems: tuple[str, ...], point: RunKnobs, seed: int, workloads: tuple[Workload, ...]
) -> dict[str, dict[Workload, float]]:
    """Return hit rates as the released code counts them, by system and workload."""
    return {
        system: {
            (model, data): foretold_share(scenario_of(system, model, BATCHES[data], point, seed))
            for model, data in workloads
        }
        for system in systems
    }


def all_workloads(data_sets: tuple[str, ...] = tuple(BATCHES)) -> tuple[Workload, ...]:
    """Every model on each of those data sets."""
    return tuple((model, data) for data in data_sets for model in DISTANCES)


def _read(metrics: Metrics, quantity: str) -> float:
    return {"ttft": metrics.ttft_s, "tpot": metrics.tpot_s, "hit": metrics.expert_hit_rate}[
        quantity
    ]
