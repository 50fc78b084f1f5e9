"""Calibration: run a few plans for real, and fit the machine file to how long operations lasted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from hwprofiles import Machine
from planner.search.plan import Plan
from sim.model.model import Model
from validation.backend.tier import Tier
from validation.backend.weights import Weights
from validation.calibrating.fit import Fit, HeldOut, fit, hold_out
from validation.calibrating.fitted_machine import Marking, fitted_machine
from validation.calibrating.observed_run import ObservedRun, observed_run
from validation.comparison.tiers import real_tier, real_weights
from validation.comparison.trial import Contender, PlanTrial, prepare


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A calibrated machine file (``data``), the fit in it, and the fit's errors on held-out runs.

    ``variation_fraction`` is how much runs of one plan vary.
    """

    data: dict[str, Any]
    fit: Fit
    held_out: Sequence[HeldOut]
    before_layer_overhead_ns: float
    variation_fraction: float
    num_runs: int


def calibrate(
    plans: Sequence[tuple[str, Plan]],
    machine: Machine,
    *,
    version: str,
    device: str = "auto",
    num_rounds: int = 5,
    on_run: Callable[[str], None] = lambda plan: None,
) -> Calibration:
    """Run every plan once to warm up, then once a round, and fit ``machine`` to these runs.

    The plans' own machines do not count. The calibrated file has the name of ``machine``. Raises
    InputError for a machine that the device cannot stand for, or for a plan that does not fit or is
    not executed.
    """
    tier = real_tier(device, machine)
    trials = _trials(plans, machine, tier)
    # First runs take longer: memory is mapped and kernels are loaded.
    for trial in trials:
        trial.run()
    runs: list[ObservedRun] = []
    # Plans take turns, so that a drift of the computer meets all of them alike.
    for _ in range(num_rounds):
        for trial in trials:
            runs.append(_observed(trial))
            on_run(trial.name)
    found = fit(runs)
    overhead_ns = machine.host.layer_overhead_ns.effective
    text = f"rosin calibrate {version}, {num_rounds} runs of each of: {', '.join(trial.name for trial in trials)}"
    marking = Marking(source=text, date=date.today().isoformat())
    return Calibration(
        data=fitted_machine(machine, _loads(trials), found, machine.name, marking),
        fit=found,
        held_out=hold_out(runs, overhead_ns),
        before_layer_overhead_ns=overhead_ns,
        variation_fraction=_variation(runs),
        num_runs=len(runs),
    )


def _loads(trials: Sequence[PlanTrial]) -> list[tuple[Model, int]]:
    """Return each model with each number of sequences that it decoded at once."""
    found = {}
    for trial in trials:
        sequences = trial.problem.batch.num_sequences
        found[trial.problem.model.name, sequences] = trial.problem.model, sequences
    return list(found.values())


def _trials(plans: Sequence[tuple[str, Plan]], machine: Machine, tier: Tier) -> list[PlanTrial]:
    """Every plan on the machine, ready to run; plans of one model share its weights."""
    weights: dict[str, Weights] = {}
    found: list[PlanTrial] = []
    for name, plan in plans:
        scenario = replace(plan.setting.scenario(plan.policy), machine=machine)
        if scenario.model.name not in weights:
            weights[scenario.model.name] = real_weights(scenario, tier)
        own = Contender(name=name, policy=plan.policy, slots_per_layer=scenario.slots_per_layer)
        found += prepare(scenario, (own,), weights[scenario.model.name], tier)
    return found


def _observed(trial: PlanTrial) -> ObservedRun:
    executed = trial.run()
    return observed_run(
        trial.name, executed.timeline, len(executed.passes) * trial.problem.model.num_layers
    )


def _variation(runs: Sequence[ObservedRun]) -> float:
    """Return the standard deviation of one plan's run times over their mean, the largest of all
    plans.
    """
    plans = {run.plan for run in runs}
    times = [
        np.array([run.makespan_ns for run in runs if run.plan == plan], np.float64)
        for plan in sorted(plans)
    ]
    return max(float(own.std() / own.mean()) for own in times)
