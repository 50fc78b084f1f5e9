"""The question of how to serve a workload, and the plan that answers it."""

from dataclasses import dataclass

from hwprofiles import Machine
from planner.serving.target import ServingTarget
from sim.model.model import Model
from sim.serving import ServingMetrics
from sim.serving.spec import ServingSpec
from sim.workload.requests.spec import RequestsSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingQuestion:
    """The question of how to serve a workload.

    ``offered`` has the tiers that may be used, up to their sizes, and a link for prefill and decode
    apart, if any. All else in ``offered`` is kept as it is; ``num_instances`` and the GPUs of each
    are kept only where they are stated. With a ``target``, the fewest GPUs that meet it are looked
    for; without, all GPUs are used. ``against`` is what serves the requests today, where that is to
    be compared.
    """

    machine: Machine
    model: Model
    requests: RequestsSpec
    offered: ServingSpec
    objective: str = "latency"
    num_requests: int | None = None
    seed: int = 0
    target: ServingTarget | None = None
    against: ServingSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingChoice:
    """A candidate: what was changed, in words, its serving file, and the metrics of its run.

    ``excess_fraction`` is by how much the candidate misses the target: 0 where it meets the target
    or there is none. The fraction is infinite where more requests are turned away than by the
    largest instance.
    """

    label: str
    spec: ServingSpec
    metrics: ServingMetrics
    excess_fraction: float = 0.0

    @property
    def num_gpus(self) -> int:
        """The GPUs of all instances together."""
        return self.spec.num_instances * (self.spec.instance.num_gpus or 1)

    @property
    def meets_target(self) -> bool:
        """Whether it keeps to the target, if there is one."""
        return self.excess_fraction == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlan:
    """All that was tried, the best first; with a target, what meets it with the fewest GPUs first.

    ``best`` has the least memory of those that are as good as the first within the margin.
    ``gain_fraction`` is what the best with tiers gains over the best without, on as many GPUs
    (None: no tiers were offered). ``against`` is what is run today, and
    ``gain_over_against_fraction`` what ``best`` gains over that. Both are None where that was not
    asked. A loss is a negative gain.
    """

    rows: tuple[ServingChoice, ...]
    best: ServingChoice
    without_tiers: ServingChoice
    with_tiers: ServingChoice | None
    gain_fraction: float | None
    against: ServingChoice | None = None
    gain_over_against_fraction: float | None = None

    @property
    def uses_tiers(self) -> bool:
        """Whether tiers are worth it."""
        return bool(self.best.spec.tiers)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMissed:
    """Nothing that was tried meets the target; ``nearest`` misses it by least."""

    target: ServingTarget
    nearest: ServingChoice
