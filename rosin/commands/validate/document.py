"""A validation as the document that ``rosin validate`` writes."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType

from hwprofiles.units import NS_PER_S
from rosin.report.checking_documents import ErrorShare, PairedErrors, ValidatedPlan, ValidateResult
from validation.backend import Tier
from validation.comparison import ErrorSummary, PlanErrors, PlanValidation

TIERS: Mapping[Tier, str] = MappingProxyType(
    {
        Tier.PACED: "paced: real tensors, copies and threads, each operation slept out to the time the machine file gives",
        Tier.CPU: "measured-cpu: real operations on an emulated accelerator: one core computes as the GPU, a paced copier is the link",
        Tier.CUDA: "cuda: real operations on the GPU, the CPU and the link",
    }
)
# Runs on a real GPU need no caveat, so their tier is missing here.
LIMITS: Mapping[Tier, str] = MappingProxyType(
    {
        Tier.PACED: "paced runs test order, dependencies, decisions and hand-overs; they say nothing about the machine file's own numbers",
        Tier.CPU: "an emulated accelerator is no GPU: what is tested is the method, on this computer's own cores",
    }
)


def validate_result(validation: PlanValidation) -> ValidateResult:
    """Return the document of a validation, with the plan's own figures first.

    The errors are over all runs of all plans.
    """
    report = validation.report
    scenario = validation.scenario
    own = report.plans[0]
    predicted_s = own.runs[0].plain.predicted_ns / NS_PER_S
    return ValidateResult(
        device=validation.trial.tier.value,
        tier=TIERS[validation.trial.tier],
        machine=scenario.machine.name,
        model=scenario.model.name,
        host=f"{platform.machine()} {platform.system()}, torch {version('torch')}",
        predicted={
            "end_to_end_s": predicted_s,
            "on_lanes_end_to_end_s": own.runs[0].paired.predicted_ns / NS_PER_S,
        },
        measured={"end_to_end_s": own.measured_ns / NS_PER_S},
        error_fraction=PairedErrors(
            paired=_share(report.paired),
            absolute=_share(report.absolute),
            plain=_share(report.plain),
        ),
        noise_floor_fraction=report.noise.median_fraction,
        calibration_variation_fraction=report.calibration_variation_fraction,
        num_preempted_runs=report.num_preempted,
        regret_fraction=validation.regret_fraction,
        kendall_tau=report.kendall_tau,
        plans=[_plan(plan) for plan in report.plans],
        left_out=validation.left_out,
    )


def validate_warnings(validation: PlanValidation) -> list[str]:
    """Return the warnings that a reader needs before trusting the figures."""
    found = [LIMITS[validation.trial.tier]] if validation.trial.tier in LIMITS else []
    variation = validation.report.calibration_variation_fraction
    if validation.report.is_too_noisy:
        found.append(
            f"this machine is too noisy to compare with: calibration runs vary by {variation:.1%}"
        )
    return found


def _share(summary: ErrorSummary) -> ErrorShare:
    return ErrorShare(median=summary.median_fraction, p90=summary.p90_fraction)


def _plan(plan: PlanErrors) -> ValidatedPlan:
    return ValidatedPlan(
        name=plan.name,
        measured_s=plan.measured_ns / NS_PER_S,
        plain_error_fraction=plan.plain_fraction,
        absolute_error_fraction=plan.absolute_fraction,
        paired_error_fraction=plan.paired_fraction,
        noise_fraction=plan.noise_fraction,
    )
