"""The figures of a search for a plan, for its page and its JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.search.make import Planned
from planner.search.objectives import OBJECTIVES
from planner.search.plan import plan_to_data
from planner.search.search import NamedRival, OfferBest
from rosin.commands.simulate.document import (
    host_memory,
    resource_times,
    run_basis,
    run_memory,
)
from rosin.report.json_documents import (
    PlanConstraints,
    PlanOffer,
    PlanResult,
    PlanRival,
    PlanRuntime,
)
from sim.policies import find_policy
from sim.step.metrics import Metrics
from sim.step.provenance import RunProvenance


def plan_result(
    planned: Planned,
    provenance: RunProvenance,
    *,
    path: Path | None,
    command: str,
    runtimes: list[PlanRuntime],
) -> PlanResult:
    """Return the figures of a plan, of its search and of its rivals; ``path`` is the plan file."""
    plan = planned.plan
    found = planned.search
    best = found.best
    goal = plan.goal
    return PlanResult(
        command=command,
        objective=goal.objective,
        constraints=PlanConstraints(
            max_ttft_s=goal.max_ttft_s,
            reserve_vram_bytes=plan.setting.reserve_vram_bytes,
            is_lossless=goal.is_lossless,
        ),
        num_tried=found.num_tried,
        num_ruled_out=found.ruled_out,
        is_stopped=found.is_stopped,
        plan=plan_to_data(plan),
        path=None if path is None else str(path),
        predicted=best.metrics,
        num_draws=found.num_draws,
        end_to_end_half_width_s=found.half_width_s,
        price_per_hour_usd=goal.price_per_hour_usd,
        usd_per_million_output_tokens=goal.usd_per_million_tokens(best.metrics),
        timeline_digest=best.timeline.digest,
        binding_resource=plan.binding_resource,
        runner_up=found.runner_up,
        offers=[
            # Where there was no choice, the plan lists no offer, though the search made one.
            _offer(row, best, goal.objective)
            for row, best in zip(plan.offers, found.offers, strict=bool(plan.offers))
        ],
        rivals=[_rival(rival, goal.objective) for rival in found.rivals],
        runtimes=runtimes,
        time=resource_times(best),
        memory=run_memory(best),
        host_memory=host_memory(best),
        basis=run_basis(provenance),
        **plan.bounds,
    )


def _offer(row: Mapping[str, Any], best: OfferBest, objective: str) -> PlanOffer:
    """Return an offer as the plan file states it, with all its metrics."""
    # Keys that do not apply are null in JSON, so all begin as None.
    values: dict[str, Any] = dict.fromkeys(PlanOffer.model_fields) | {"num_draws": best.num_draws}
    values |= {name: value for name, value in row.items() if name in PlanOffer.model_fields}
    if isinstance(best.outcome, Metrics):
        assert best.plan_metrics is not None
        values |= {
            "metrics": best.outcome,
            "speed_fraction": speed_fraction(best.outcome, best.plan_metrics, objective),
        }
    return PlanOffer(**values)


def _rival(rival: NamedRival, objective: str) -> PlanRival:
    found = rival.outcome
    # Keys that do not apply are null in JSON, so all begin as None.
    empty: dict[str, Any] = dict.fromkeys(PlanRival.model_fields)
    policy = find_policy(rival.policy)
    values = empty | {"policy": rival.policy, "num_draws": rival.num_draws}
    values |= {"is_lossless": policy.is_lossless, "knows_future": policy.knows_future}
    if isinstance(found, Metrics):
        assert rival.plan_metrics is not None
        values |= {
            "metrics": found,
            "speed_fraction": speed_fraction(found, rival.plan_metrics, objective),
            "num_sampled_tokens": rival.num_sampled_tokens,
        }
    else:
        values |= {"reason": found.reason, "missing_bytes": found.missing_bytes}
    return PlanRival(**values)


def speed_fraction(metrics: Metrics, best: Metrics, objective: str) -> float:
    """Return the speed of a run as a fraction of the best run's, by the objective.

    Rates are divided as own by best, and times as best by own.
    """
    own = OBJECTIVES[objective](metrics)
    goal = OBJECTIVES[objective](best)
    over, under = (
        (own, goal) if goal < 0 else (goal, own)
    )  # what is maximised is minimised with its sign changed
    # With one output token, the time for each further token is 0 in both.
    return over / under if under else 1.0
