"""Run a plan beside its rivals: the error of its prediction, and whether a rival is faster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hwprofiles import InputError
from planner.search.plan import Plan
from sim.costs.memory import Infeasible
from sim.engine.timeline import Timeline
from sim.policies import POLICIES
from sim.step.simulate import Scenario, simulate
from sim.workload.batch import Batch
from validation.backend.cores import own_cores
from validation.backend.tier import Tier, worker_of
from validation.backend.weights import Weights
from validation.comparison.contest import CALIBRATION
from validation.comparison.rounds import Report, run_rounds
from validation.comparison.tiers import tier_of, weights_for
from validation.comparison.trial import Contender, PlanTrial, prepare, why_not

MOST_RIVALS = 3
SLOWEST_RIVAL_FACTOR = 2.0
"""A rival predicted to take longer than this many times the plan's time is not run.

Whatever the error, it cannot be the best.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanValidation:
    """The report, whose first plan is the one asked about, and the reasons for left-out rivals, by
    name.
    """

    scenario: Scenario
    report: Report
    left_out: dict[str, str]
    trial: PlanTrial

    @property
    def regret_fraction(self) -> float:
        """How much slower the plan measured than the best that was run; 0 if the plan is the
        best.
        """
        return self.report.regret_fraction(self.report.plans[0].name)


def validate_plan(
    plan: Plan,
    num_rounds: int,
    *,
    batch: Batch | None = None,
    device: str = "paced",
    checkpoint: Path | None = None,
    on_run: Callable[[str], None] | None = None,
) -> PlanValidation:
    """Run the plan and the named systems that might beat it, in interleaved rounds.

    ``device`` is ``auto``, ``paced``, ``cpu`` or ``cuda``. ``batch`` replaces the plan's own, for a
    shorter run. ``checkpoint`` is a folder with weights of the plan's model, in place of random
    ones. Raises InputError for a plan that does not fit or is not executed.
    """
    scenario = plan.setting.scenario(plan.policy)
    scenario = scenario if batch is None else replace(scenario, batch=batch)
    tier = tier_of(device, scenario.machine)
    _check_threads(plan.setting.cpu_threads, tier)
    own = Contender(
        name=plan.policy.name, policy=plan.policy, slots_per_layer=scenario.slots_per_layer
    )
    # The plan alone first: what it lacks is an error, what a rival lacks leaves that rival out.
    first = prepare(scenario, (own,), weights_for(scenario, tier, checkpoint), tier)[0]
    left_out: dict[str, str] = {}
    rivals = tuple(_rivals(scenario, left_out, first.weights))
    calibration = Contender(
        name=CALIBRATION.name, policy=CALIBRATION, slots_per_layer=scenario.slots_per_layer
    )
    # Weights and rehearsal are shared: a model's weights may take half of the memory.
    trials = prepare(scenario, (calibration, own, *rivals), first.weights, tier, first.rehearsal)
    report = run_rounds(trials[1:], trials[0], num_rounds, on_run)
    return PlanValidation(scenario=scenario, report=report, left_out=left_out, trial=trials[1])


def _check_threads(threads: int | None, tier: Tier) -> None:
    """Refuse a plan for another number of CPU threads than real operations would get here.

    Raises InputError for such a plan, unless the tier is paced.
    """
    real = worker_of(tier, "cpu", own_cores()).num_threads
    if threads not in (None, real) and tier is not Tier.PACED:
        raise InputError(
            f"the plan computes with {threads} CPU threads, here it would get {real}; `device` paced runs it as predicted"
        )


def run_again(validation: PlanValidation) -> tuple[Timeline, Timeline]:
    """Run the plan once more; return the simulator's timeline of that run and the measured one."""
    executed = validation.trial.run()
    return validation.trial.predict(executed).plain(), executed.timeline


def _rivals(scenario: Scenario, left_out: dict[str, str], weights: Weights) -> Iterator[Contender]:
    """Yield the named systems that are predicted to be fastest, the fastest first.

    Every other system gets a reason in ``left_out``.
    """
    own = simulate(scenario)
    assert not isinstance(own, Infeasible), "a plan that fits was prepared before"
    times_s: dict[str, float] = {}
    for policy in POLICIES.values():
        if policy.name == scenario.policy.name:
            continue
        found = simulate(replace(scenario, policy=policy))
        rival = Contender(name=policy.name, policy=policy, slots_per_layer=scenario.slots_per_layer)
        if policy.knows_future:
            left_out[policy.name] = "it knows the future, as no system does"
        elif isinstance(found, Infeasible):
            left_out[policy.name] = found.reason
        elif (problem := why_not(scenario, rival, weights)) is not None:
            left_out[policy.name] = problem
        elif found.metrics.end_to_end_s > SLOWEST_RIVAL_FACTOR * own.metrics.end_to_end_s:
            left_out[policy.name] = (
                f"predicted to take over {SLOWEST_RIVAL_FACTOR:.0f} times as long"
            )
        else:
            times_s[policy.name] = found.metrics.end_to_end_s
    for place, name in enumerate(sorted(times_s, key=times_s.__getitem__)):
        if place < MOST_RIVALS:
            yield Contender(
                name=name, policy=POLICIES[name], slots_per_layer=scenario.slots_per_layer
            )
        else:
            left_out[name] = f"{MOST_RIVALS} others are predicted to be faster"
