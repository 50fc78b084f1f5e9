"""What pages read of results: the keys that they need, each of the right type. Other keys may stand
beside them, as later versions add some.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hwprofiles import validated
from planner.study.axes import Value


class Shape(BaseModel):
    """Part of a result, as far as a page reads it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)


class Figures(Shape):
    """The figures of a run that stand in tables."""

    output_tokens_per_s: float
    ttft_s: float
    tpot_s: float
    expert_hit_rate: float


class RivalRow(Shape):
    """A policy beside others, with figures where it fits."""

    policy: str
    metrics: Figures | None = None
    reason: str | None = None
    missing_bytes: int | None = None
    is_lossless: bool = True
    knows_future: bool = False


class ComparedRow(RivalRow):
    """A policy that fits."""

    metrics: Figures
    is_lossless: bool
    knows_future: bool


class PlaceNames(Shape):
    """What ran where."""

    model: str
    machine: str


class ComparisonScenario(Shape):
    """The scenario of a comparison."""

    command: str
    quantization: str
    setting: PlaceNames


class Comparison(Shape):
    """What ``compare`` wrote."""

    scenario: ComparisonScenario
    rows: list[ComparedRow]
    infeasible: list[RivalRow]
    warnings: list[str]


class PlanParts(Shape):
    """What runs again: as in a plan file, which is checked when it is read."""

    setting: dict[str, Any]
    policy: dict[str, Any]


class PlanFound(Shape):
    """What ``plan`` wrote."""

    plan: PlanParts
    command: str | list[str] | None = None
    rivals: list[RivalRow] | None = None
    static_bound_s: float | None = None
    clairvoyant_bound_s: float | None = None


class RunShape(PlanParts):
    """The scenario of a run."""

    command: str


class RunFound(Shape):
    """What ``simulate`` wrote."""

    scenario: RunShape


class GainRow(Shape):
    """What a number of the machine changes."""

    path: str
    base_value: float
    low_gain_fraction: float | None
    high_gain_fraction: float | None


class StudyFound(Shape):
    """What ``whatif`` wrote, but its rows."""

    command: str
    objective: Literal["throughput", "latency", "ttft", "tpot"]
    setting: PlaceNames
    sensitivities: list[GainRow] | None = None
    files: list[str] | None = None
    warnings: list[str]


class StudyRow(Shape):
    """One point of a study."""

    is_feasible: bool
    values: dict[str, Value]
    policy: str | None
    metrics: dict[str, float]


class CellTable(Shape):
    """A table of a reproduction."""

    title: str
    assumptions: str
    cells: list[dict[str, Any]]


class AimReached(Shape):
    """Whether what was aimed at was reached; null: it was not tried."""

    is_met: bool | None


class ClaimFound(Shape):
    """A published figure beside the simulator's."""

    paper: str
    figure: str
    published: str
    simulated: str
    verdict: str


class MedianError(Shape):
    """An error in the median."""

    median: float


class ErrorKinds(Shape):
    """Errors, paired with calibration runs and plain."""

    paired: MedianError
    plain: MedianError


class RowsFound(Shape):
    """What a validation, an accuracy or a reproduction wrote; other rows of it are lists of objects."""

    tables: list[CellTable] | None = None
    targets: list[AimReached] | None = None
    claims: list[ClaimFound] | None = None
    error_fraction: ErrorKinds | None = None
    title: str | None = None
    model: str | None = None
    warnings: list[str] | None = None


def check_shape(shape: type[Shape], data: Mapping[str, Any], source: Path) -> None:
    """Raise InputError, naming file and key, where a result lacks what its page needs."""
    validated(shape, dict(data), source)
