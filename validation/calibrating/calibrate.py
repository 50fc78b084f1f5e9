"""Calibration: a few plans run for real, and what their operations lasted fitted into the machine file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import torch

from hwprofiles import InputError, Machine, Quantity
from hwprofiles.units import format_bytes
from planner.plan import Plan
from sim.memory import Infeasible, Residency
from sim.model import Model, TensorClass
from sim.policies.problem import Problem
from sim.simulate import Scenario, problem_of
from validation.backend.architecture import architecture_of
from validation.backend.executed import Executed
from validation.backend.run_policy import check_executable, execute_policy
from validation.backend.tier import Tier
from validation.backend.weights import Weights, random_weights
from validation.calibrating.fit import Fit, HeldOut, fit, hold_out
from validation.calibrating.fitted_machine import Marking, fitted_machine
from validation.calibrating.observed_run import ObservedRun, observed_run
from validation.measuring.machine_file import EMULATED
from validation.measuring.surroundings import memory_bytes
from validation.measuring.workplace import DTYPES

MOST_MEMORY_SHARE = 0.7
"""Of this computer's memory that weights may fill, the accelerator's copies included."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """The machine file, what was fitted, how good that is on runs it was not fitted to, and how much runs of one plan vary."""

    data: dict[str, Any]
    fit: Fit
    held_out: Sequence[HeldOut]
    before_layer_overhead_ns: float
    variation_fraction: float
    num_runs: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Trial:
    """A plan ready to be run."""

    name: str
    plan: Plan
    problem: Problem
    residency: Residency
    weights: Weights
    prompts_SL: torch.Tensor

    def run(self, tier: Tier) -> Executed:
        """One run of real operations."""
        return execute_policy(self.plan.policy, self.problem, self.residency, self.weights, self.prompts_SL, tier=tier)


def calibrate(
    plans: Sequence[tuple[str, Plan]],
    machine: Machine,
    *,
    name: str,
    version: str,
    device: str = "auto",
    num_rounds: int = 5,
    on_run: Callable[[str], None] = lambda plan: None,
) -> Calibration:
    """Run every plan once to warm up, then once a round, and fit. The plans' own machines do not count: ``machine`` does.

    Raises InputError for a machine that the device cannot stand for, and a plan that does not fit or that the backend does not execute.
    """
    tier = tier_for(device, machine)
    trials = _trials(plans, machine)
    for trial in trials:
        trial.run(tier)
    runs: list[ObservedRun] = []
    for _ in range(num_rounds):
        for trial in trials:
            runs.append(_observed(trial, tier))
            on_run(trial.name)
    found, overhead_ns = fit(runs), machine.host.layer_overhead_ns.effective
    text = f"rosin calibrate {version}, {num_rounds} runs of each of: {', '.join(trial.name for trial in trials)}"
    marking = Marking(source=text, date=date.today().isoformat())
    models = list({trial.problem.model.name: trial.problem.model for trial in trials}.values())
    sequences = trials[0].problem.batch.num_sequences
    return Calibration(
        data=fitted_machine(machine, models, sequences, found, name, marking),
        fit=found,
        held_out=hold_out(runs, overhead_ns),
        before_layer_overhead_ns=overhead_ns,
        variation_fraction=_variation(runs),
        num_runs=len(runs),
    )


def tier_for(device: str, machine: Machine) -> Tier:
    """The tier of real operations. Raises InputError where it cannot stand for the machine."""
    is_emulated = machine.description.startswith(EMULATED)
    wanted = ("cpu" if is_emulated else "cuda") if device == "auto" else device
    if (wanted == "cpu") != is_emulated:
        right = "--device cpu runs on it" if is_emulated else "only a machine that rosin measure --device cpu wrote is one"
        raise InputError(f"--device {wanted}: {machine.name} is {'' if is_emulated else 'not '}an emulated accelerator; {right}")
    tier = Tier.__members__.get(wanted.upper())
    if tier is None:
        raise InputError(f"--device {wanted}: the backend runs no plan there so far; on an emulated accelerator it does")
    return tier


def _trials(plans: Sequence[tuple[str, Plan]], machine: Machine) -> list[_Trial]:
    weights: dict[str, Weights] = {}
    found = []
    for name, plan in plans:
        scenario = replace(plan.setting.scenario(plan.policy), machine=_without_overhead(machine))
        problem = problem_of(scenario)
        residency = plan.policy.placement.place(problem)
        if isinstance(residency, Infeasible):
            raise InputError(f"{name}: {residency.reason} on {machine.name}, {residency.missing_bytes} bytes are missing")
        if scenario.model.name not in weights:
            weights[scenario.model.name] = _weights(scenario)
        own = weights[scenario.model.name]
        check_executable(plan.policy, problem, residency, own)
        generator, batch = torch.Generator().manual_seed(scenario.seed), scenario.batch
        prompts_SL = torch.randint(own.architecture.vocab, (batch.batch_size, batch.prompt_tokens), generator=generator)
        found.append(_Trial(name=name, plan=plan, problem=problem, residency=residency, weights=own, prompts_SL=prompts_SL))
    return found


def _without_overhead(machine: Machine) -> Machine:
    """The machine without host time: real lanes have their own, which is what is to be found."""
    none = Quantity(value=0, kind=machine.host.layer_overhead_ns.kind, source="left to the real lanes", date="undated")
    return machine.model_copy(update={"host": machine.host.model_copy(update={"layer_overhead_ns": none, "step_overhead_ns": none})})


def _weights(scenario: Scenario) -> Weights:
    """Random weights of the model's dimensions and format. Raises InputError for what cannot be run here."""
    model = scenario.model
    dtype = model.dtypes[TensorClass.EXPERT]
    if dtype not in DTYPES:
        raise InputError(f"{model.name} is stored in {dtype}; operations are run in {', '.join(DTYPES)}")
    _check_memory(model)
    return random_weights(architecture_of(model), scenario.seed, DTYPES[dtype])


def _check_memory(model: Model) -> None:
    needed, had = 2 * model.total_bytes, MOST_MEMORY_SHARE * memory_bytes()
    if needed > had:
        raise InputError(f"{model.name}: its weights, twice, take {format_bytes(needed)}, and {format_bytes(had)} of memory may be filled")


def _observed(trial: _Trial, tier: Tier) -> ObservedRun:
    executed = trial.run(tier)
    return observed_run(trial.name, executed.timeline, len(executed.passes) * trial.problem.model.num_layers)


def _variation(runs: Sequence[ObservedRun]) -> float:
    """Standard deviation of the runs of one plan by their mean, the largest over the plans."""
    plans = {run.plan for run in runs}
    times = [np.array([run.makespan_ns for run in runs if run.plan == plan], np.float64) for plan in sorted(plans)]
    return max(float(own.std() / own.mean()) for own in times)
