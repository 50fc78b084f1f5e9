"""A contest on a machine at hand: a planned policy and its rivals, with the same memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from hwprofiles import InputError
from hwprofiles.units import format_bytes
from planner.search.objectives import Goal
from planner.search.search import Search, search
from sim.costs.memory import Infeasible
from sim.policies.cache.lru import LruCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.policy import Policy
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.policies.table import POLICIES
from sim.step.simulate import Scenario, simulate
from validation.backend.rehearsal import Rehearsal
from validation.backend.tier import Tier
from validation.backend.weights import Weights
from validation.comparison.trial import Contender, PlanTrial, prepare, why_not

CALIBRATION = replace(POLICIES["on-demand"], name="calibration", dispatch=BalancedDispatch())
"""The policy of the calibration plan, which uses every lane so that each lane's costs show."""

RIVALS: Mapping[str, Policy] = MappingProxyType(
    {
        "fiddler": POLICIES["fiddler"],
        "LRU with prefetch": replace(
            POLICIES["lru"], name="LRU with prefetch", cache=LruCache(), prefetch=NextGatePrefetch()
        ),
        "static CPU experts": POLICIES["ktransformers"],
        "streaming": POLICIES["zero-streaming"],
        "on-demand": POLICIES["on-demand"],
    }
)
"""Policies that a plan has to beat, by name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contest:
    """The calibration plan, the planned one and its rivals, ready to run.

    ``left_out`` gives the reason for each policy that does not run.
    """

    calibration: PlanTrial
    trials: tuple[PlanTrial, ...]
    left_out: Mapping[str, str]


def contest(
    scenario: Scenario,
    rivals: Iterable[Contender],
    weights: Weights,
    tier: Tier,
    *,
    longest_s: float | None = None,
    rehearsal: Rehearsal | None = None,
) -> Contest:
    """Plan the scenario, and prepare its best plan, the calibration plan and the rivals.

    If the backend does not execute the best plan, the best named system that it executes stands in.
    Rivals are left out if they do not fit, cannot be executed, or are predicted to take more than
    ``longest_s``. Raises InputError if nothing fits.
    """
    found = search(scenario, Goal(), 1)
    if isinstance(found, Infeasible):
        raise InputError(
            f"{scenario.model.name} on {scenario.machine.name}: {found.reason}, {format_bytes(found.missing_bytes)} too much"
        )
    assert isinstance(found, Search)  # no constraint is asked for
    left_out: dict[str, str] = {}
    chosen = _chosen(found, scenario, weights, left_out)
    taken = [
        Contender(name=CALIBRATION.name, policy=CALIBRATION),
        Contender(name=f"planned: {chosen.name}", policy=chosen),
    ]
    for rival in rivals:
        # Memory is asked about first, because a plan that does not fit cannot be simulated.
        problem = why_not(scenario, rival, weights) or _too_slow(scenario, rival, longest_s)
        if problem is None:
            taken.append(rival)
        else:
            left_out[rival.name] = problem
    calibration, *trials = prepare(scenario, tuple(taken), weights, tier, rehearsal)
    return Contest(calibration=calibration, trials=tuple(trials), left_out=left_out)


def _chosen(
    found: Search, scenario: Scenario, weights: Weights, left_out: dict[str, str]
) -> Policy:
    """Return the best policy of the search that the backend executes; note why better ones are left
    out.
    """
    fitting = (rival.policy for rival in found.rivals if not isinstance(rival.outcome, Infeasible))
    # The backend does not execute every policy that is planned, so the next best may stand in.
    for policy in (found.best.scenario.policy, *(POLICIES[name] for name in fitting)):
        problem = why_not(scenario, Contender(name=policy.name, policy=policy), weights)
        if problem is None and policy.is_lossless and not policy.knows_future:
            return policy
        left_out[f"planned: {policy.name}"] = problem or "it knows the future, as no system does"
    raise InputError(
        f"{scenario.model.name} on {scenario.machine.name}: nothing that fits is executed"
    )


def _too_slow(scenario: Scenario, rival: Contender, longest_s: float | None) -> str | None:
    """Return the reason to leave out a rival that is predicted to take longer than that, or
    None.
    """
    if longest_s is None:
        return None
    run = simulate(replace(scenario, policy=rival.policy, slots_per_layer=rival.slots_per_layer))
    assert not isinstance(run, Infeasible), "what does not fit was left out before"
    lasts_s = run.metrics.end_to_end_s
    return (
        f"predicted to take {lasts_s:.1f} s, more than the {longest_s:.1f} s that are waited for"
        if lasts_s > longest_s
        else None
    )
