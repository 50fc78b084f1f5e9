"""Reject points that cannot be true: weights read faster than memory gives them, so from a
cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hwprofiles import Operation
from hwprofiles.units import NS_PER_S, format_duration, format_rate
from validation.measuring.probe import CurveKey
from validation.measuring.sampling import MeasuredPoint

TOLERANCE = 1.2
"""Ratio to the fastest plain read up to which a product may read its weights.

The peak of a datasheet is taken as it is.
"""

LEAST_SAMPLES = 5
"""Fewest samples of a plain read for its fastest one to count as what memory gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A point that cannot be true, and the reason in a line."""

    point: MeasuredPoint
    reason: str


def plausible(
    curves: Mapping[CurveKey, tuple[MeasuredPoint, ...]], peak_bytes_per_s: Mapping[str, float]
) -> tuple[dict[CurveKey, tuple[MeasuredPoint, ...]], list[Rejected]]:
    """Sort points: those that read weights no faster than their device's peak, and those that do.

    Devices without a peak are not judged.
    """
    rejected: list[Rejected] = []
    kept: dict[CurveKey, tuple[MeasuredPoint, ...]] = {}
    for key, points in curves.items():
        faults = [_fault(point, peak_bytes_per_s.get(key.device)) for point in points]
        rejected += [
            Rejected(point=point, reason=fault)
            for point, fault in zip(points, faults, strict=True)
            if fault is not None
        ]
        left = tuple(point for point, fault in zip(points, faults, strict=True) if fault is None)
        if left:
            kept[key] = left
    return kept, rejected


def fastest_reads(curves: Mapping[CurveKey, tuple[MeasuredPoint, ...]]) -> dict[str, float]:
    """Return by device the highest bytes a second of any sample of a plain read, times TOLERANCE.

    Reads with fewer than LEAST_SAMPLES samples do not count, so a device may have no peak.
    """
    reads = [
        point
        for key, points in curves.items()
        if key.operation is Operation.MEMORY_READ
        for point in points
    ]
    reads = [point for point in reads if point.num_samples >= LEAST_SAMPLES]
    return {
        device: TOLERANCE
        * max(rate_of(point, point.best_ns) for point in reads if point.probe.key.device == device)
        for device in {point.probe.key.device for point in reads}
    }


def rate_of(point: MeasuredPoint, ns: float) -> float:
    """Return bytes of weights a second for a run of that many ns."""
    return point.probe.weight_bytes / ns * NS_PER_S


def _fault(point: MeasuredPoint, peak: float | None) -> str | None:
    if (
        peak is None
        # Plain reads set the peak, so they are not judged by it.
        or point.probe.key.operation is Operation.MEMORY_READ
        or rate_of(point, point.ns) <= peak
    ):
        return None
    what = f"{point.probe.key.text} at {point.probe.x:,}"
    took = format_duration(point.ns / NS_PER_S)
    return f"{what} took {took}: {format_rate(rate_of(point, point.ns))} of weights, and its memory gives {format_rate(peak)} at most"
