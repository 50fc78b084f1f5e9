"""A measured cost curve: durations at some sizes, interpolated between them."""

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from hwprofiles.file_part import FilePart
from hwprofiles.formats import SHAPE_KEYS, WEIGHT_FORMATS, check_words
from hwprofiles.limits import MAX_DEVICES, MAX_DURATION_NS, MAX_QUANTITY
from hwprofiles.quantity import Kind, Number, Provenance, SourceDate, SourceText


class Operation(StrEnum):
    """Operation whose duration a curve gives.

    The x axis is bytes for copies, context tokens for decoding, threads for reads of memory, and
    tokens for all others. ``expert_in_group`` is one of the experts that a single call runs. The
    curve leaves out what the call itself takes, and counts the tokens of that one expert.
    """

    EXPERT = "expert"
    EXPERT_IN_GROUP = "expert_in_group"
    DENSE = "dense"
    ATTENTION_PREFILL = "attention_prefill"
    ATTENTION_DECODE = "attention_decode"
    GATE = "gate"
    NORM = "norm"
    COPY = "copy"
    MEMORY_READ = "memory_read"


class Curve(FilePart):
    """Durations in ns of one operation on one device at given sizes.

    ``shape`` gives the dimensions that the curve holds for (for ``expert``: ``hidden``,
    ``intermediate``). An operation of another shape does not use the curve. With
    ``covers_other_shapes``, experts of a call use it at any shape, scaled by the ratio of
    rooflines. Between points, durations are straight in log-log, so they are monotone wherever the
    points are. ``threads`` is the number of CPU threads that computed the operation (None: as many
    as the machine's own rates are for). ``spread_fractions`` says how noisy each point was: the
    interquartile range of its samples over their median. The tuple is empty where the noise is not
    known.
    """

    operation: Operation
    device: Literal["gpu", "cpu", "h2d", "h2d_pageable", "d2h", "d2h_pageable", "disk"]
    dtype: str = "bf16"
    shape: dict[str, int] = Field(default={})
    covers_other_shapes: bool = False
    threads: Annotated[int, Field(ge=1, le=MAX_DEVICES)] | None = None
    points: Annotated[tuple[tuple[Number, Number], ...], Field(min_length=1)]
    spread_fractions: tuple[Annotated[float, Field(ge=0)], ...] = ()
    kind: Kind
    source: SourceText
    date: SourceDate

    @model_validator(mode="after")
    def _words_are_known(self) -> Self:
        check_words("weight format", {self.dtype}, WEIGHT_FORMATS)
        check_words("dimension of a shape", set(self.shape), SHAPE_KEYS)
        return self

    @model_validator(mode="after")
    def _only_experts_of_a_call_are_scaled(self) -> Self:
        if self.covers_other_shapes and self.operation is not Operation.EXPERT_IN_GROUP:
            raise ValueError(
                f"covers_other_shapes is for {Operation.EXPERT_IN_GROUP}, not for {self.operation}"
            )
        return self

    @model_validator(mode="after")
    def _experts_of_a_call_have_a_shape(self) -> Self:
        missing = {"hidden", "intermediate"} - set(self.shape)
        if self.operation is Operation.EXPERT_IN_GROUP and (missing or self.device != "gpu"):
            raise ValueError(
                f"{self.operation} is of the gpu, and its shape has hidden and intermediate"
            )
        return self

    @model_validator(mode="after")
    def _points_rise_in_x(self) -> Self:
        xs = [x for x, _ in self.points]
        if any(x <= 0 or ns <= 0 for x, ns in self.points):
            raise ValueError("points must be [size > 0, ns > 0]")
        if any(x > MAX_QUANTITY or ns > MAX_DURATION_NS for x, ns in self.points):
            raise ValueError(
                f"sizes of points must be at most {MAX_QUANTITY:g}, and ns at most {MAX_DURATION_NS:g}"
            )
        if any(
            np.log(b) <= np.log(a) for a, b in pairwise(xs)
        ):  # in logarithms, as that is where they are told apart
            raise ValueError(f"sizes of points must rise strictly, got {xs}")
        if self.spread_fractions and len(self.spread_fractions) != len(self.points):
            raise ValueError(
                f"spread_fractions must have one for each of {len(self.points)} points, got {len(self.spread_fractions)}"
            )
        return self

    @property
    def is_of_cpu_rates(self) -> bool:
        """Whether the curve gives durations on the CPU at one number of threads.

        Curves of memory reads do not: each covers several numbers of threads.
        """
        return self.device == "cpu" and self.operation is not Operation.MEMORY_READ

    @property
    def provenance(self) -> Provenance:
        """The kind, source and date of the curve's points."""
        return Provenance(kind=self.kind, source=self.source, date=self.date)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest measured size."""
        return self.points[0][0], self.points[-1][0]

    def covers(self, x: np.ndarray) -> np.ndarray:
        """Return, for each size in ``x``, whether the measured range contains it."""
        low, high = self.range
        return (x >= low) & (x <= high)

    def duration_ns(self, x: np.ndarray) -> np.ndarray:
        """Durations in ns (float) at sizes ``x``; outside the range, the value of the nearest end."""
        # In logarithms a power law between two points is a straight line, which durations by size
        # often are. Outside the range np.interp holds the ends, so nothing is extrapolated without
        # being said.
        xs, ns = np.array(self.points).T
        return np.asarray(np.exp(np.interp(np.log(x), np.log(xs), np.log(ns))))
