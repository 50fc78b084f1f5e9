"""Looking for the best plan: every candidate and every named system, on the same routing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from hwprofiles import InputError, unknown_name
from planner.candidates import candidates, named_systems
from sim.memory import Infeasible, Residency
from sim.metrics import Metrics
from sim.policies.placement.explicit import ExplicitPlacement
from sim.policies.placement.fitting import RankedPlacement
from sim.policies.policy import Policy
from sim.simulate import Drawn, Run, Scenario, check, draw, problem_of, run_drawn
from sim.workload import Feeding

OBJECTIVES: Mapping[str, Callable[[Metrics], float]] = MappingProxyType(
    {
        "throughput": lambda metrics: -metrics.output_tokens_per_s,
        "latency": lambda metrics: metrics.end_to_end_s,
        "ttft": lambda metrics: metrics.ttft_s,
        "tpot": lambda metrics: metrics.tpot_s,
    }
)
"""What is minimised, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What a named system would reach on the same work: a run, or why it has none."""

    policy: str
    outcome: Run | Infeasible


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The best run found, with its placement spelt out, and what it was compared with (best first, then the infeasible)."""

    best: Run
    rivals: tuple[Rival, ...]
    num_tried: int


Progress = Callable[[str, Run | Infeasible], None]


def search(scenario: Scenario, objective: str, on_progress: Progress | None = None) -> Search | Infeasible:
    """Try all candidates and named systems on the scenario (its policy is ignored); all meet the same routing draw.

    Ties go to the earlier candidate. A policy that is lossy, knows the future, or does not follow the
    scenario's slots per layer, is only a rival.

    Infeasible only when nothing at all fits: then with the smallest shortage.
    Raises InputError for an unknown objective.
    """
    check(scenario)
    if scenario.num_gpus > 1:
        raise InputError(f"plans and their bounds are for one GPU, got --gpus {scenario.num_gpus}; simulate and compare take several")
    score, draws = _score(objective), Draws(scenario)
    tried = [(policy, _tried(scenario, policy, draws, on_progress), is_named) for policy, is_named in _policies()]
    runs = [outcome for _, outcome, _ in tried if isinstance(outcome, Run) and is_allowed(outcome)]
    if not runs:
        shortages = [outcome for _, outcome, _ in tried if isinstance(outcome, Infeasible)]
        return min(shortages, key=lambda shortage: shortage.missing_bytes)
    best = min(runs, key=lambda run: score(run.metrics))
    rivals = [Rival(policy=policy.name, outcome=outcome) for policy, outcome, is_named in tried if is_named]
    rivals.sort(key=lambda rival: score(rival.outcome.metrics) if isinstance(rival.outcome, Run) else np.inf)
    return Search(best=_spelt_out(best), rivals=tuple(rivals), num_tried=len(tried))


def planned_policy(run: Run) -> Policy:
    """The policy of a run with its placement spelt out expert by expert, so that it repeats without knowing the popularity."""
    policy = run.scenario.policy
    if not isinstance(policy.placement, RankedPlacement):
        return policy
    placement = ExplicitPlacement(experts=experts_by_layer(run.residency), memory=policy.placement.memory)
    return replace(policy, placement=placement)


def experts_by_layer(residency: Residency) -> tuple[tuple[int, ...], ...]:
    """Resident experts of every layer, ascending."""
    return tuple(tuple(int(expert) for expert in np.flatnonzero(row)) for row in residency.experts)


def binding_resource(metrics: Metrics) -> str:
    """The resource that is busy for the largest part of the run."""
    return max(metrics.busy_s, key=lambda name: metrics.busy_s[name])


def _policies() -> Iterator[tuple[Policy, bool]]:
    for policy in candidates():
        yield policy, False
    for policy in named_systems():
        yield policy, True


class Draws:
    """The routing of one scenario, drawn once for each way of feeding the model."""

    def __init__(self, scenario: Scenario) -> None:
        """Nothing drawn yet."""
        self._scenario = scenario
        self._known: dict[Feeding, Drawn] = {}

    def of(self, feeding: Feeding) -> Drawn:
        """The same draw for the same feeding, and the same tokens over all of them."""
        if feeding not in self._known:
            self._known[feeding] = draw(self._scenario, feeding)
        return self._known[feeding]


def _tried(scenario: Scenario, policy: Policy, draws: Draws, on_progress: Progress | None) -> Run | Infeasible:
    scenario = replace(scenario, policy=policy)
    problem = problem_of(scenario)
    residency = policy.placement.place(problem)
    if isinstance(residency, Infeasible):
        outcome: Run | Infeasible = residency
    else:
        outcome = run_drawn(scenario, problem, residency, draws.of(policy.feeding))
    if on_progress:
        on_progress(policy.name, outcome)
    return outcome


def is_allowed(run: Run) -> bool:
    """Whether the run may become the plan: no token changed, and as many experts of each layer as were asked for, if any were."""
    scenario = run.scenario
    held = run.residency.experts.sum(axis=1)[list(scenario.model.moe_layers)]
    follows = scenario.slots_per_layer is None or bool((held == scenario.slots_per_layer).all())
    return scenario.policy.is_lossless and not scenario.policy.knows_future and follows


def _spelt_out(run: Run) -> Run:
    return replace(run, scenario=replace(run.scenario, policy=planned_policy(run), slots_per_layer=None))


def _score(objective: str) -> Callable[[Metrics], float]:
    if objective == "cost":
        raise InputError("--objective cost: no machine states a price yet; set price_usd in the machine file and compare with whatif")
    if objective not in OBJECTIVES:
        raise unknown_name("objective", objective, OBJECTIVES)
    return OBJECTIVES[objective]
