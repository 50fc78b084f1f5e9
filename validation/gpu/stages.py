"""Measure the machine, plan models for budgets of memory, and run each plan beside its rivals.

The command writes machine.yaml, then for every case its report (Markdown, JSON, CSV) and the
timelines of its plan, for ui.perfetto.dev. After every case it writes summary.md and summary.csv
over all cases. The command ends by itself before its time is up. Weights are random and made on the
spot. No network is used, and the settings of the card are left alone.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hwprofiles import InputError, Machine, Quantity, load_machine, parse_machine, write_yaml
from sim.engine.trace import write_trace
from sim.model.model import Model
from sim.policies.table import POLICIES
from sim.routing import uniform
from sim.step.simulate import Scenario, problem_of
from sim.workload.batch import Batch
from validation.backend import Rehearsal, Tier, Weights, architecture_of, random_weights, rehearse
from validation.backend.crossing import ON_HOST
from validation.backend.rehearsal import random_prompts
from validation.backend.tier import device_of
from validation.comparison import Contender, run_rounds
from validation.comparison.contest import RIVALS, Contest, contest
from validation.comparison.report_files import host_words, write_report
from validation.gpu.case_models import NAMES, CaseModel, case_models
from validation.gpu.summary import CaseReport, write_summary
from validation.measuring import EFFORTS, Emulation, Subject, machine_data, measure

TIME_S = 540.0
BATCH = Batch(prompt_tokens=16, output_tokens=6)
MOST_ROUNDS = 5
LONGEST_RUN_S = 6.0
"""Predicted seconds of one run above which a rival is left out, so that others have its time."""

CASE_SHARE = 0.9
"""Share of a case's time after which no further run begins.

The last run, and writing, take the rest.
"""

LEAST_SHARE = 0.1
"""Least share of the whole time that must be left for a model or a budget to be begun."""

MEASURING_SHARE = 0.1
LINK_BYTES_PER_S = 2.5e9
PACED_MACHINE = "desktop-rtx-4090-ddr5"
DEVICES = {"cuda": Tier.CUDA, "cpu": Tier.CPU, "paced": Tier.PACED}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; end with 2 and one line if it cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m validation.gpu", description=__doc__)
    parser.add_argument(
        "-o",
        dest="folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="where everything is written",
    )
    parser.add_argument(
        "--device",
        choices=("auto", *DEVICES),
        default="auto",
        help="auto: the GPU, or small models on this CPU",
    )
    parser.add_argument(
        "--time-s",
        type=float,
        default=TIME_S,
        metavar="N",
        help=f"seconds that all of it may take ({TIME_S:.0f})",
    )
    parser.add_argument(
        "--machine",
        type=Path,
        metavar="FILE",
        help="a machine file of this machine, instead of measuring it",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=NAMES,
        metavar="NAME",
        help=f"models of the library ({', '.join(NAMES)})",
    )
    chosen = parser.parse_args(arguments)
    try:
        run(
            chosen.folder,
            _tier(chosen.device),
            time_s=chosen.time_s,
            machine_file=chosen.machine,
            names=chosen.models,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """The common part of all cases: where they run, and until when."""

    folder: Path
    tier: Tier
    machine: Machine
    until_s: float
    time_s: float

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.until_s - time.monotonic()


def run(
    folder: Path,
    tier: Tier,
    *,
    time_s: float = TIME_S,
    machine_file: Path | None = None,
    names: Sequence[str] = NAMES,
) -> list[CaseReport]:
    """Measure, plan, run and write everything; return the cases that were run.

    Raises InputError for a machine or model that is not there.
    """
    until_s = time.monotonic() + time_s
    folder.mkdir(parents=True, exist_ok=True)
    models = case_models(tier, names)
    machine = _machine(
        tier, machine_file, [model.priced for model in models], MEASURING_SHARE * time_s
    )
    write_yaml(machine.model_dump(mode="json", exclude_none=True), folder / "machine.yaml")
    stage = _Stage(folder=folder, tier=tier, machine=machine, until_s=until_s, time_s=time_s)
    _say(f"machine: {machine.description} {stage.left_s:.0f} s are left.")
    cases: list[CaseReport] = []
    # Written before anything has run, and after every case: a stop leaves a whole summary.
    write_summary(cases, folder, _facts(stage))
    for number, model in enumerate(models):
        if stage.left_s < LEAST_SHARE * time_s:
            _say(f"{model.priced.name}: left out, {stage.left_s:.0f} s are left")
        else:
            _run_model(stage, model, cases, num_models_left=len(models) - number)
    _say(f"done, {stage.left_s:.0f} s before the time is up: {folder / 'summary.md'}")
    return cases


def _run_model(
    stage: _Stage, model: CaseModel, cases: list[CaseReport], num_models_left: int
) -> None:
    """Run every budget of one model, each with its share of the time that is left."""
    weights, rehearsal = _weights(model, stage)
    for number, budget in enumerate(model.budgets_bytes):
        if stage.left_s < LEAST_SHARE * stage.time_s:
            _say(f"{model.priced.name}, {budget}: left out, {stage.left_s:.0f} s are left")
            continue
        num_left = (
            (num_models_left - 1) * len(model.budgets_bytes) + len(model.budgets_bytes) - number
        )
        case = _case(
            stage,
            model,
            budget,
            weights,
            rehearsal,
            until_s=time.monotonic() + CASE_SHARE * stage.left_s / num_left,
        )
        if case is not None:
            cases.append(case)
            _say(case.line)
        write_summary(cases, stage.folder, _facts(stage))


def _case(
    stage: _Stage,
    model: CaseModel,
    budget: str,
    weights: Weights,
    rehearsal: Rehearsal,
    until_s: float,
) -> CaseReport | None:
    """Plan, run, compare and write one case.

    If it cannot be run, print the reason and return None.
    """
    name = f"{model.priced.name}, {budget}"
    rivals = [Contender(name=rival, policy=policy) for rival, policy in RIVALS.items()]
    scenario = _scenario(stage.machine, model.priced, model.budgets_bytes[budget])
    try:
        found = contest(
            scenario, rivals, weights, stage.tier, longest_s=LONGEST_RUN_S, rehearsal=rehearsal
        )
        report = run_rounds(
            found.trials,
            found.calibration,
            MOST_ROUNDS,
            is_time_left=lambda: time.monotonic() < until_s,
            stops_when_noisy=True,
        )
        case = CaseReport(name=name, report=report, left_out=found.left_out)
        write_report(
            report,
            stage.folder,
            case.file_name,
            _facts(stage) | {"case": name, "not run": dict(found.left_out)},
        )
        _write_timelines(found, stage.folder, case.file_name)
    # A card too full for one budget may do for the next.
    except (InputError, torch.OutOfMemoryError) as error:
        _say(f"{name}: not run: {' '.join(str(error).split())}")
        return None
    return case


def _write_timelines(found: Contest, folder: Path, name: str) -> None:
    """Write the timelines of one more run of the plan, as measured and as predicted."""
    executed = found.trials[0].run()
    write_trace(found.trials[0].predict(executed).plain(), folder / f"{name}.predicted.trace.json")
    write_trace(executed.timeline, folder / f"{name}.measured.trace.json")


def _machine(tier: Tier, file: Path | None, models: list[Model], time_s: float) -> Machine:
    """Return the machine as measured now or as the file says.

    If operations are paced, it is one of the library.
    """
    if file is not None or tier is Tier.PACED:
        return load_machine(str(file or PACED_MACHINE))
    # Measuring must not take the time that the cases need.
    effort = EFFORTS["quick"]
    effort = replace(
        effort, budget=replace(effort.budget, total_s=min(effort.budget.total_s, time_s))
    )
    device = "cuda" if tier is Tier.CUDA else "cpu"
    findings = measure(
        models,
        Subject(device=device, emulation=Emulation(link_bytes_per_s=LINK_BYTES_PER_S)),
        effort=effort,
    )
    return parse_machine(
        machine_data(findings, "this-machine", "of this project"), "the machine at hand"
    )


def _scenario(machine: Machine, model: Model, budget_bytes: int) -> Scenario:
    memory = machine.gpu.memory_bytes
    imposed = Quantity(
        value=budget_bytes, kind=memory.kind, source="imposed on this comparison", date=memory.date
    )
    beside = imposed.model_copy(
        update={"value": 0.0}
    )  # the budget is what a plan may fill, beside the context
    gpu = machine.gpu.model_copy(update={"memory_bytes": imposed, "context_bytes": beside})
    own = machine.model_copy(update={"gpu": gpu})
    return Scenario(
        machine=own, model=model, batch=BATCH, policy=POLICIES["on-demand"], routing=uniform()
    )


def _weights(model: CaseModel, stage: _Stage) -> tuple[Weights, Rehearsal]:
    """Return random weights in host memory, page-locked beside a GPU, and a rehearsal of them."""
    device = device_of(stage.tier)
    dtype = torch.float32 if stage.tier is Tier.PACED else torch.bfloat16
    weights = random_weights(
        architecture_of(model.executed), 0, dtype, drawn_on=device, is_pinned=device != ON_HOST
    )
    # The router's choices do not depend on the budget, so any budget will do.
    problem = problem_of(
        _scenario(stage.machine, model.priced, next(iter(model.budgets_bytes.values())))
    )
    return weights, rehearse(weights, problem, random_prompts(weights, BATCH, seed=0), seed=0)


def _tier(device: str) -> Tier:
    """Return the tier of a device's name. Raises InputError if there is no such device."""
    has_gpu = torch.cuda.is_available()
    if device == "auto":
        return Tier.CUDA if has_gpu else Tier.CPU
    if device == "cuda" and not has_gpu:
        raise InputError(
            "--device cuda: torch finds no CUDA device; --device cpu runs small models on an emulated accelerator"
        )
    return DEVICES[device]


def _facts(stage: _Stage) -> dict[str, object]:
    tier = {
        Tier.CUDA: "cuda: all of it real",
        Tier.CPU: "measured-cpu: an emulated accelerator, small models; no GPU",
    }
    return {
        "tier": tier.get(
            stage.tier, "paced: operations slept out to the machine file's times; no GPU"
        ),
        "host": host_words(),
        "machine": stage.machine.description,
        "work": f"{BATCH.prompt_tokens} prompt and {BATCH.output_tokens} output tokens",
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
