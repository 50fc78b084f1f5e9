"""The whole comparison: rows to questions, questions to prices, prices to errors."""

from collections.abc import Mapping, Sequence

from hwprofiles import InputError
from sim.runtimes.constants import NAMES, Phase, shipped, shipped_constants
from validation.accuracy.fit import Points
from validation.accuracy.points import PricedRow, points_of, priced, rows_of_phase
from validation.accuracy.prediction import (
    PhasePrediction,
    Refits,
    predict_left_out,
    predict_shipped,
    refit,
    spreads_that_cover,
)
from validation.accuracy.questions import HostOf, ask
from validation.accuracy.result import AccuracyResult, PointAccuracy, RowAccuracy
from validation.accuracy.rows import MeasuredRow
from validation.accuracy.summary import baseline_summaries, group_summaries

PHASES: tuple[Phase, ...] = ("decode", "prefill")
NUM_RIGS_TO_REFIT = 3


def compare(
    rows: Sequence[MeasuredRow], host_of: HostOf, *, leave_one_rig_out: bool
) -> AccuracyResult:
    """Predict every row that can be expressed, and compare the predictions with the measurements.

    Raises InputError if no row can be expressed, or if refitting has too few machines.
    """
    all_rows = [priced(ask(row, host_of)) for row in rows]
    by_phase = {phase: rows_of_phase(all_rows, phase) for phase in PHASES}
    points = {phase: points_of(own, phase) for phase, own in by_phase.items() if own}
    if not points:
        reasons = sorted({one.asked.reason for one in all_rows if one.asked.reason})
        raise InputError(f"none of {len(rows)} rows can be expressed: {'; '.join(reasons[:3])}")
    file = shipped()
    refits = None
    if leave_one_rig_out:
        rigs = {rig for own in points.values() for rig in own.rigs}
        # With two machines each fit would rest on a single one, and a spread over fits on two.
        if len(rigs) < NUM_RIGS_TO_REFIT:
            raise InputError(
                f"leaving one machine out needs rows of at least {NUM_RIGS_TO_REFIT}, got {len(rigs)}"
            )
        refits = refit(points, file)
    return _result(all_rows, by_phase, _predict(points, refits), refits)


def _predict(points: Mapping[Phase, Points], refits: Refits | None) -> dict[Phase, PhasePrediction]:
    file = shipped()
    if refits is not None:
        return predict_left_out(points, refits, file)
    constants = shipped_constants()
    return {phase: predict_shipped(own, constants, file) for phase, own in points.items()}


def _result(
    all_rows: Sequence[PricedRow],
    by_phase: dict[Phase, list[PricedRow]],
    predictions: dict[Phase, PhasePrediction],
    refits: Refits | None,
) -> AccuracyResult:
    file = shipped()
    summary = [
        item for phase, own in predictions.items() for item in group_summaries(by_phase[phase], own)
    ]
    baselines = [item for own in predictions.values() for item in baseline_summaries(own)]
    reach = {
        phase: spreads_that_cover(own, file.coverage_fraction) for phase, own in predictions.items()
    }
    values = {name: file.constants[name].value for name in NAMES}
    spreads = {name: file.constants[name].spread for name in NAMES}
    return AccuracyResult(
        leaves_one_rig_out=refits is not None,
        coverage_fraction=file.coverage_fraction,
        spreads_that_cover=reach,
        rows=_rows(all_rows, by_phase, predictions),
        summary=tuple(summary),
        baselines=tuple(baselines),
        constants=values if refits is None else dict(refits.all_rigs),
        constant_spreads=spreads if refits is None else dict(refits.spreads),
    )


def _rows(
    all_rows: Sequence[PricedRow],
    by_phase: dict[Phase, list[PricedRow]],
    predictions: dict[Phase, PhasePrediction],
) -> tuple[RowAccuracy, ...]:
    found = {phase: _points(by_phase[phase], own) for phase, own in predictions.items()}
    return tuple(
        RowAccuracy(
            id=row.asked.row.id,
            rig=row.asked.row.rig,
            runtime=row.asked.row.runtime,
            decode=found.get("decode", {}).get(row.asked.row.id),
            prefill=found.get("prefill", {}).get(row.asked.row.id),
            reason=row.asked.reason,
            is_incomplete=row.asked.is_incomplete,
        )
        for row in all_rows
    )


def _points(rows: Sequence[PricedRow], prediction: PhasePrediction) -> dict[str, PointAccuracy]:
    return {
        row.asked.row.id: PointAccuracy(
            predicted_tokens_per_s=float(prediction.predicted[index]),
            low_tokens_per_s=float(prediction.low[index]),
            high_tokens_per_s=float(prediction.high[index]),
            measured_tokens_per_s=float(prediction.points.tokens_per_s[index]),
        )
        # Points are stacked in the order of these rows, so a row's number is its point's.
        for index, row in enumerate(rows)
    }
