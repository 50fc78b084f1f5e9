"""A search for a plan in figures: what its page and its JSON show."""

from pathlib import Path
from typing import Any

from planner.make import Planned
from planner.plan import plan_to_data
from planner.search import OBJECTIVES, Rival
from rosin.report.json_documents import PlanResult, PlanRival
from rosin.report.run_result import resource_times, run_basis, run_memory
from sim.metrics import Metrics
from sim.provenance import RunProvenance
from sim.simulate import Run


def plan_result(planned: Planned, provenance: RunProvenance, *, path: Path | None, command: str) -> PlanResult:
    """The figures of a plan, of the search it came from and of its rivals; ``path`` is where it was written."""
    plan, best = planned.plan, planned.search.best
    return PlanResult(
        command=command,
        objective=plan.objective,
        num_tried=planned.search.num_tried,
        plan=plan_to_data(plan),
        path=None if path is None else str(path),
        predicted=best.metrics,
        timeline_digest=best.timeline.digest,
        binding_resource=plan.binding_resource,
        rivals=[_rival(rival, best.metrics, plan.objective) for rival in planned.search.rivals],
        time=resource_times(best),
        memory=run_memory(best),
        basis=run_basis(provenance),
        **plan.bounds,
    )


def _rival(rival: Rival, best: Metrics, objective: str) -> PlanRival:
    found = rival.outcome
    empty: dict[str, Any] = dict.fromkeys(PlanRival.model_fields)
    values = empty | {"policy": rival.policy}
    if isinstance(found, Run):
        values |= {"metrics": found.metrics, "speed_fraction": speed_fraction(found.metrics, best, objective)}
    else:
        values |= {"reason": found.reason, "missing_bytes": found.missing_bytes}
    return PlanRival(**values)


def speed_fraction(metrics: Metrics, best: Metrics, objective: str) -> float:
    """How fast a run is by the objective, as a fraction of the best one: rates over rates, times the other way round."""
    own, goal = OBJECTIVES[objective](metrics), OBJECTIVES[objective](best)
    over, under = (own, goal) if goal < 0 else (goal, own)  # what is maximised is minimised with its sign changed
    return over / under if under else 1.0
