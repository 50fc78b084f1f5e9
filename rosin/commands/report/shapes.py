"""The keys that pages need from results, each with its type.

Other keys may stand beside them, since later versions add keys.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hwprofiles import validated
from planner.study.axes import Value


class Shape(BaseModel):
    """A part of a result, limited to the keys that a page reads."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)


class Figures(Shape):
    """The figures of a run that tables show."""

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
    """The model and the machine of a run."""

    model: str
    machine: str


class ComparisonScenario(Shape):
    """The scenario of a comparison."""

    command: str
    quantization: str
    setting: PlaceNames


class Comparison(Shape):
    """A document of ``compare``."""

    scenario: ComparisonScenario
    rows: list[ComparedRow]
    infeasible: list[RivalRow]
    warnings: list[str]


class PlanParts(Shape):
    """The parts of a result that run again: setting and policy as in a plan file.

    Both are checked when they are read.
    """

    setting: dict[str, Any]
    policy: dict[str, Any]


class PlanFound(Shape):
    """A document of ``plan``."""

    plan: PlanParts
    command: str | list[str] | None = None
    rivals: list[RivalRow] | None = None
    static_bound_s: float | None = None
    clairvoyant_bound_s: float | None = None


class RunShape(PlanParts):
    """The scenario of a run."""

    command: str


class RunFound(Shape):
    """A document of ``simulate``."""

    scenario: RunShape


class GainRow(Shape):
    """The gains from a fifth less and a fifth more of a number of the machine."""

    path: str
    base_value: float
    low_gain_fraction: float | None
    high_gain_fraction: float | None


class StudyFound(Shape):
    """A document of ``whatif`` without its rows."""

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
    """Whether a target is met; null: the target was not tried."""

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
    """Errors of predictions that are paired with calibration runs, and of plain predictions."""

    paired: MedianError
    plain: MedianError


class RowsFound(Shape):
    """A document of a validation, an accuracy or a reproduction.

    Its other lists of rows are lists of objects.
    """

    tables: list[CellTable] | None = None
    targets: list[AimReached] | None = None
    claims: list[ClaimFound] | None = None
    error_fraction: ErrorKinds | None = None
    title: str | None = None
    model: str | None = None
    warnings: list[str] | None = None


def check_shape(shape: type[Shape], data: Mapping[str, Any], source: Path) -> None:
    """Raise InputError, naming file and key, if a result lacks a key that its page needs."""
    validated(shape, dict(data), source)
