"""From what was asked to a plan."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from planner.bounds import clairvoyant_bound, shadow_prices, static_bound
from planner.plan import Plan, Setting
from planner.search import Progress, Search, binding_resource, search
from sim.memory import Infeasible
from sim.policies import find_policy
from sim.provenance import RunProvenance, provenance_of
from sim.simulate import Run, problem_of

ANY_POLICY = "on-demand"
"""The search replaces the policy of the scenario it is given; this one only fills the place."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """A plan and the search it came from."""

    plan: Plan
    search: Search


def make_plan(
    setting: Setting, objective: str, version: str, on_progress: Progress | None = None, *, engine: str = "fast"
) -> Planned | Infeasible:
    """Search for the best plan in that setting. Raises InputError for what the setting cannot name."""
    found = search(setting.scenario(find_policy(ANY_POLICY), engine), objective, on_progress)
    if isinstance(found, Infeasible):
        return found
    best = found.best
    plan = Plan(
        setting=setting,
        objective=objective,
        policy=best.scenario.policy,
        predicted=asdict(best.metrics) | {"timeline_digest": best.timeline.digest},
        bounds=bounds_of(best),
        binding_resource=binding_resource(best.metrics),
        provenance=_stated(provenance_of(best)),
        version=version,
    )
    return Planned(plan=plan, search=found)


def bounds_of(best: Run) -> dict[str, Any]:
    """Proven lower limits on the end of any run of this work, and by how much the plan ends later.

    All GPU memory counts, whatever the plan sets aside. No gap to the static bound for a plan whose residency changes.
    """
    problem = problem_of(best.scenario)
    work = problem, best.passes, best.tokens
    static_s, clairvoyant_s = static_bound(*work).end_to_end_s, clairvoyant_bound(*work).end_to_end_s
    is_static = best.scenario.policy.keeps_residency
    return {
        "static_bound_s": static_s,
        "clairvoyant_bound_s": clairvoyant_s,
        "gap_to_static_bound_fraction": _gap(best, static_s) if is_static else None,
        "gap_to_clairvoyant_bound_fraction": _gap(best, clairvoyant_s),
        "shadow_prices": shadow_prices(*work),
    }


def _gap(best: Run, bound_s: float) -> float | None:
    """By which fraction the run ends after the bound; None for a bound that says nothing."""
    return best.metrics.end_to_end_s / bound_s - 1.0 if bound_s > 0 else None


def _stated(provenance: RunProvenance) -> Mapping[str, Any]:
    weakest, routing = provenance.weakest, provenance.routing
    return {
        "weakest": {"kind": weakest.kind.value, "source": weakest.source, "date": weakest.date},
        "routing": {"kind": routing.kind.value, "source": routing.source, "date": routing.date},
        "num_numbers_by_kind": _counts(provenance),
        "extrapolated": list(provenance.extrapolated),
    }


def _counts(provenance: RunProvenance) -> dict[str, int]:
    counts: dict[str, int] = {}
    for number in provenance.numbers:
        kind = number.provenance.kind.value
        counts[kind] = counts.get(kind, 0) + 1
    return counts
