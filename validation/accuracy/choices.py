"""Compare the choice in each case with the measured best: regret, and the order of all arms."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from hwprofiles import InputError
from sim.runtimes.constants import Phase
from validation.accuracy.arms import ArmPrediction, predict_arm
from validation.accuracy.cases import MeasuredArm
from validation.accuracy.questions import HostOf
from validation.accuracy.result import CaseAccuracy, CaseArm, CaseSummary
from validation.accuracy.rows import MeasuredRow

SAME_FRACTION = 1e-3
"""Relative difference up to which two speeds have no order."""

CLOSE_FRACTION = 0.05
"""Largest regret of a choice that counts as right: launches of one program differ by as much."""

Cases = Mapping[tuple[str, Phase], Sequence[MeasuredArm]]


def choose_in_cases(
    cases: Cases, rows: Sequence[MeasuredRow], host_of: HostOf
) -> tuple[CaseAccuracy, ...]:
    """Choose an arm in every case. An arm that cannot be expressed is never chosen, and has a
    reason.
    """
    by_id = {row.id: row for row in rows}
    return tuple(_choose(arms, by_id, host_of) for arms in cases.values())


def summary_of(cases: Sequence[CaseAccuracy]) -> CaseSummary:
    """Summarise the regrets over all cases. Raises InputError if no case has a choice."""
    regrets = [case.regret_fraction for case in cases if case.regret_fraction is not None]
    if not regrets:
        raise InputError("no case has two arms that can be predicted, so nothing was chosen")
    orders = [case.kendall_tau for case in cases if case.kendall_tau is not None]
    known = [arm.is_covered for case in cases for arm in case.arms if arm.is_covered is not None]
    return CaseSummary(
        num_cases=len(cases),
        num_chosen=len(regrets),
        # A case in which nothing could be chosen counts as missed.
        within_5_percent_fraction=sum(regret <= CLOSE_FRACTION for regret in regrets) / len(cases),
        median_regret_fraction=float(np.median(regrets)),
        worst_regret_fraction=max(regrets),
        median_kendall_tau=float(np.median(orders)) if orders else None,
        covered_fraction=sum(known) / len(known) if known else None,
        num_speeds=len(known),
    )


def _choose(
    arms: Sequence[MeasuredArm], rows: Mapping[str, MeasuredRow], host_of: HostOf
) -> CaseAccuracy:
    found = [(arm, *_predicted(arm, arms, rows, host_of)) for arm in arms]
    scored = [(arm, made) for arm, made, _ in found if made is not None and arm.is_scored]
    # An arm that is not scored was measured under other conditions, so it may not win either.
    best = max((arm for arm in arms if arm.is_scored), key=lambda arm: arm.speed)
    chosen = _first(scored)
    return CaseAccuracy(
        case=best.case,
        phase=best.phase,
        chosen_arm=chosen.arm if chosen else None,
        best_arm=best.arm,
        regret_fraction=1 - chosen.speed / best.speed if chosen else None,
        kendall_tau=kendall_tau(scored),
        arms=tuple(_case_arm(arm, made, reason) for arm, made, reason in found),
    )


def _case_arm(arm: MeasuredArm, made: ArmPrediction | None, reason: str | None) -> CaseArm:
    """The arm beside its prediction and the ends of its interval."""
    low, high = (None, None) if made is None else made.interval
    is_covered = None
    if low is not None and high is not None and not arm.is_relative:
        is_covered = low <= arm.speed <= high
    return CaseArm(
        arm=arm.arm,
        measured=arm.speed,
        predicted_tokens_per_s=made.tokens_per_s if made else None,
        low_tokens_per_s=low,
        high_tokens_per_s=high,
        is_covered=is_covered,
        is_scored=arm.is_scored,
        reason=reason,
    )


def _predicted(
    arm: MeasuredArm,
    arms: Sequence[MeasuredArm],
    rows: Mapping[str, MeasuredRow],
    host_of: HostOf,
) -> tuple[ArmPrediction | None, str | None]:
    try:
        return predict_arm(arm, arms, rows, host_of), None
    except InputError as error:
        return None, str(error)


def _first(scored: Sequence[tuple[MeasuredArm, ArmPrediction]]) -> MeasuredArm | None:
    """Return the arm with the least expected time, and so with the least expected regret.

    If predictions are the same, ``TieBreak`` decides, then the file's order. Return None if fewer
    than two arms are predicted; then nothing is chosen.
    """
    if len(scored) < 2:
        return None
    least = min(made.expected_s for _, made in scored)
    same = [pair for pair in scored if pair[1].expected_s <= least * (1 + SAME_FRACTION)]
    return max(same, key=lambda pair: pair[1].tie)[0]


def kendall_tau(scored: Sequence[tuple[MeasuredArm, ArmPrediction]]) -> float | None:
    """Return Kendall's tau-b of predictions and measurements.

    Return None if all predictions, or all measurements, are the same.
    """
    agreeing = 0
    predicted_pairs = 0
    measured_pairs = 0
    for (first, one), (second, other) in combinations(scored, 2):
        measured = _order(first.speed, second.speed)
        predicted = _order(one.tokens_per_s, other.tokens_per_s)
        agreeing += measured * predicted
        measured_pairs += measured != 0
        predicted_pairs += predicted != 0
    if not measured_pairs or not predicted_pairs:
        return None
    # Tau-b divides by pairs that have an order. Divided by all pairs, ties would pull it to 0.
    return agreeing / math.sqrt(measured_pairs * predicted_pairs)


def _order(first: float, second: float) -> int:
    if abs(first - second) <= SAME_FRACTION * max(first, second):
        return 0
    return 1 if first > second else -1
