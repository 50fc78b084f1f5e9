"""Turn measured calls for a layer's experts into curves of one expert within a call.

The errors show how well the curves predict shapes that they leave out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hwprofiles import Curve, InputError, Kind, Machine, Operation, Provenance
from hwprofiles.units import NS_PER_S
from sim.costs.cost_model import CostModel
from sim.costs.roofline import compute_type
from sim.model.model import Layer, Model, TensorClass
from validation.kernel_tables.grouped_rows import (
    WEIGHT_BYTES,
    ExpertShape,
    GroupedRow,
    GroupedRows,
)

LEAST_WORK_FRACTION = 0.3
"""Least share of its call that an expert's work takes.

Assumed: if a call lasts hardly longer than its kernels take, the rest is noise.
"""

LEAST_BEND = 0.03
"""Error of the logarithm up to which a curve may pass a measured point that it leaves out.

Repeated rows of one table scatter by about as much.
"""

MIN_POINTS = 3
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatErrors:
    """Errors of the prices of one format's rows, as fractions (median, 90th percentile).

    ``law`` is without curves, ``own`` with the curves of all shapes. ``left_out`` prices each shape
    by the other shapes' curves alone.
    """

    dtype: str
    num_shapes: int
    num_rows: int
    num_dropped: int
    law: tuple[float, float]
    own: tuple[float, float]
    left_out: tuple[float, float] | None

    @property
    def covers_other_shapes(self) -> bool:
        """Whether the nearest shape's curve prices shapes without rows.

        The nearest curve does if its errors are below the law's, in the median over shapes left
        out.
        """
        return self.left_out is not None and self.left_out[0] < self.law[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedCurves:
    """The machine with its curves, and the errors of each format."""

    machine: Machine
    errors: tuple[FormatErrors, ...]


def with_grouped_curves(machine: Machine, found: GroupedRows) -> ImportedCurves:
    """Return the machine with a curve for each format and shape in the rows, in place of former
    ones.

    A row that reads or computes faster than the card's peak is dropped: it was timed with weights
    in a cache. Raises InputError if no row is left.
    """
    kept = tuple(row for row in found.rows if not _is_above_peak(machine, row))
    if not kept:
        raise InputError(
            f"{machine.name}: none of {len(found.rows):,} rows is within the card's peak"
        )
    others = tuple(
        curve for curve in machine.curves if curve.operation is not Operation.EXPERT_IN_GROUP
    )
    # Without its former curves, which would otherwise price the rows that replace them.
    bare = machine.model_copy(update={"curves": others})
    curves = _curves(bare, kept, found)
    dtypes = sorted({row.dtype for row in kept})
    errors = tuple(_errors(bare, curves, dtype, kept, found.rows) for dtype in dtypes)
    covering = {one.dtype for one in errors if one.covers_other_shapes}
    made = tuple(_covering(curve) if curve.dtype in covering else curve for curve in curves)
    return ImportedCurves(
        machine=bare.model_copy(update={"curves": (*others, *made)}), errors=errors
    )


def _is_above_peak(machine: Machine, row: GroupedRow) -> bool:
    gpu = machine.gpu
    products = 2 * row.tokens * row.shape.top_k * row.shape.num_weights
    peak = gpu.flops_per_s[compute_type(gpu.flops_per_s, row.dtype)].value
    return row.bytes_per_s > gpu.memory_bytes_per_s.value or products / row.ns * NS_PER_S > peak


def _curves(machine: Machine, rows: Sequence[GroupedRow], found: GroupedRows) -> list[Curve]:
    groups: dict[tuple[str, int, int], list[GroupedRow]] = defaultdict(list)
    for row in rows:
        groups[row.dtype, row.shape.hidden, row.shape.intermediate].append(row)
    all_rows = Counter(row.dtype for row in found.rows)
    kept = Counter(row.dtype for row in rows)
    curves = []
    for (dtype, hidden, intermediate), own in sorted(groups.items()):
        curve = Curve(
            operation=Operation.EXPERT_IN_GROUP,
            device="gpu",
            dtype=dtype,
            shape={"hidden": hidden, "intermediate": intermediate},
            points=thinned(_points(machine, own)),
            kind=Kind.PUBLISHED,
            source=f"{found.source}; of {all_rows[dtype]:,} rows in {dtype} "
            f"{all_rows[dtype] - kept[dtype]:,} dropped as faster than the card's peak",
            date=found.date,
        )
        curves.append(curve)
    return curves


def _points(machine: Machine, rows: Iterable[GroupedRow]) -> list[tuple[float, float]]:
    """Tokens of an expert, and ns of its share of the call without the call's kernels."""
    by_size: dict[float, list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        # Rounded, so that sizes apart by a rounding error become one point.
        size = float(f"{row.tokens_per_expert:.{_DIGITS}g}")
        by_size[size].append((row.num_activated, _work_ns(machine, row) / row.num_activated))
    return [(size, _mean(own)) for size, own in sorted(by_size.items())]


def thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the fewest points whose curve passes all others within LEAST_BEND.

    The first and the last point always stay.
    """
    if len(points) < MIN_POINTS:
        return tuple(points)
    sizes, durations = np.log(np.array(points)).T
    drawn = np.interp(sizes, sizes[[0, -1]], durations[[0, -1]])
    farthest = int(np.abs(drawn - durations).argmax())
    # Ramer, Douglas and Peucker: cut where the line is farthest off, until it is nowhere.
    if abs(drawn[farthest] - durations[farthest]) <= LEAST_BEND:
        return (points[0], points[-1])
    return (*thinned(points[: farthest + 1])[:-1], *thinned(points[farthest:]))


def _mean(weighted: Sequence[tuple[int, float]]) -> float:
    """Return the mean over calls, weighted by their experts.

    The more experts a call has, the less its kernels matter.
    """
    # A mean of logarithms, because errors are ratios.
    counts, values = zip(*weighted, strict=True)
    return float(f"{np.exp(np.average(np.log(values), weights=counts)):.{_DIGITS}g}")


def _work_ns(machine: Machine, row: GroupedRow) -> float:
    costs = _costs(machine, row.dtype, row.shape)
    return max(row.ns - costs.group_overhead_ns("gpu"), LEAST_WORK_FRACTION * row.ns)


def predicted_ns(machine: Machine, row: GroupedRow) -> float:
    """Return the ns that the simulator charges for such a call of fused kernels in a captured
    graph.
    """
    costs = _costs(machine, row.dtype, row.shape)
    each = float(costs.in_groups().expert("gpu", 0, row.tokens_per_expert).ns)
    return row.num_activated * each + costs.group_overhead_ns("gpu")


def _costs(machine: Machine, dtype: str, shape: ExpertShape) -> CostModel:
    model = _model_of(dtype, shape)
    return CostModel(machine=machine, model=model, is_fused=True, captures_graphs=True)


def _model_of(dtype: str, shape: ExpertShape) -> Model:
    """Return a model of one layer, of which only the experts are used."""
    params = {
        TensorClass.ROUTER: shape.hidden * shape.num_experts,
        TensorClass.EXPERT: shape.num_weights,
    }
    num_bytes = {
        TensorClass.ROUTER: 2 * params[TensorClass.ROUTER],
        TensorClass.EXPERT: round(shape.num_weights * WEIGHT_BYTES[dtype]),
    }
    layer = Layer(num_experts=shape.num_experts, top_k=shape.top_k, params=params, bytes=num_bytes)
    return Model(
        name="experts",
        family="experts",
        hidden=shape.hidden,
        vocab=1,
        expert_intermediate=shape.intermediate,
        layers=(layer,),
        top_params={},
        top_bytes={},
        dtypes={tensor_class: dtype for tensor_class in TensorClass},
        quantization=dtype,
        max_context_tokens=1,
        provenance=Provenance(kind=Kind.PUBLISHED, source="a shape of a table", date="2026"),
    )


def _errors(
    bare: Machine,
    curves: Sequence[Curve],
    dtype: str,
    kept: Sequence[GroupedRow],
    rows: Sequence[GroupedRow],
) -> FormatErrors:
    own = [row for row in kept if row.dtype == dtype]
    of_dtype = [curve for curve in curves if curve.dtype == dtype]
    left_out = []
    for size, group in _by_size(own).items():
        others = tuple(_covering(curve) for curve in of_dtype if _size_of(curve) != size)
        machine = bare.model_copy(update={"curves": others})
        left_out += [_off(machine, row) for row in group] if others else []
    whole = bare.model_copy(update={"curves": tuple(of_dtype)})
    return FormatErrors(
        dtype=dtype,
        num_shapes=len(_by_size(own)),
        num_rows=len(own),
        num_dropped=sum(row.dtype == dtype for row in rows) - len(own),
        law=_summary(_off(bare.model_copy(update={"curves": ()}), row) for row in own),
        own=_summary(_off(whole, row) for row in own),
        left_out=_summary(left_out) if left_out else None,
    )


def _covering(curve: Curve) -> Curve:
    return curve.model_copy(update={"covers_other_shapes": True})


def _by_size(rows: Iterable[GroupedRow]) -> dict[tuple[int, int], list[GroupedRow]]:
    found: dict[tuple[int, int], list[GroupedRow]] = defaultdict(list)
    for row in rows:
        found[row.shape.hidden, row.shape.intermediate].append(row)
    return found


def _size_of(curve: Curve) -> tuple[int, int]:
    return curve.shape["hidden"], curve.shape["intermediate"]


def _off(machine: Machine, row: GroupedRow) -> float:
    return abs(predicted_ns(machine, row) / row.ns - 1)


def _summary(errors: Iterable[float]) -> tuple[float, float]:
    values = list(errors)
    return float(np.median(values)), float(np.quantile(values, 0.9))
