"""A planned policy and its rivals, for the same memory: what a comparison on a machine at hand
runs.
"""

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
"""Uses every lane, so that what each adds is seen."""

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
"""What a plan has to beat, by name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contest:
    """The calibration plan, the planned one and its rivals, ready to run, and what was left out for
    what reason.
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
    """Plan the scenario, and make its best plan, the calibration plan and those rivals ready that
    fit and can be executed.

    Where the best is not executed, the best named system that is stands for it. Rivals that are
    predicted to take more than ``longest_s`` are left out. Raises InputError where nothing fits.
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
    """The best of the search that the backend executes; says why another was better."""
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
    """What is said of a rival that is predicted to take longer than that, if it is."""
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
