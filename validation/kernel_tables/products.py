"""Measured products of a matrix with tokens, the fastest framework of each size.

The source is ``gemm/…/gemm_perf.parquet``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine
from hwprofiles.units import NS_PER_MS, NS_PER_S
from sim.costs.roofline import Roofline, compute_type
from validation.kernel_tables.aiconfigurator import FORMATS
from validation.kernel_tables.grouped_rows import WEIGHT_BYTES
from validation.kernel_tables.parquet import read_table, table_places

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

_COLUMNS = ("gemm_dtype", "m", "n", "k")
_ACTIVATION_BYTES = 2
_SINGLE_KERNEL = "attention_output"
"""The operation of sim.costs.roofline that is one product in one kernel."""
_TOKENS_OF_ERRORS = (1, 8, 64, 512, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductErrors:
    """Errors of products of one format, as fractions (median, 90th percentile).

    ``law`` prices them by the law, ``left_out`` prices each shape by the nearest of the others.
    """

    dtype: str
    num_shapes: int
    num_rows: int
    num_dropped: int
    law: tuple[float, float]
    left_out: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredProducts:
    """The products of one format on one card.

    ``shapes`` has inputs and outputs [shape, 2]. ``times`` has, by shape, the measured numbers of
    tokens, rising, and the ns of each. Rows faster than the card's peak are left out.
    """

    machine: Machine
    dtype: str
    shapes: Values
    times: tuple[tuple[Values, Values], ...]
    frameworks: tuple[str, ...]
    num_dropped: int

    def ns(self, tokens: Values, inputs: int, outputs: int) -> Values:
        """Return ns of a product over each of those numbers of tokens.

        Measured points are joined by straight lines in log-log. A shape that was not measured takes
        the times of the nearest shape, times the ratio of rooflines.
        """
        return self._scaled(tokens, inputs, outputs, self._nearest(inputs, outputs, None))

    def errors(self) -> ProductErrors:
        """Return the errors of the prices of each shape, as if it had not been measured."""
        law = []
        left_out = []
        for index, (inputs, outputs) in enumerate(self.shapes.astype(int).tolist()):
            sizes, measured = self.times[index]
            is_asked = np.isin(sizes, _TOKENS_OF_ERRORS)
            tokens = sizes[is_asked]
            near = self._nearest(inputs, outputs, index)
            guessed = self._scaled(tokens, inputs, outputs, near)
            law += np.abs(self._law(tokens, inputs, outputs) / measured[is_asked] - 1).tolist()
            left_out += np.abs(guessed / measured[is_asked] - 1).tolist()
        return ProductErrors(
            dtype=self.dtype,
            num_shapes=len(self.shapes),
            num_rows=sum(len(sizes) for sizes, _ in self.times),
            num_dropped=self.num_dropped,
            law=_summary(law),
            left_out=_summary(left_out),
        )

    def _nearest(self, inputs: int, outputs: int, without: int | None) -> int:
        # By ratios: twice as wide is as far as half as wide.
        distances = np.abs(np.log(self.shapes / (inputs, outputs))).sum(axis=1)
        if without is not None:
            distances[without] = np.inf
        return int(distances.argmin())

    def _scaled(self, tokens: Values, inputs: int, outputs: int, near: int) -> Values:
        sizes, measured = self.times[near]
        inside = np.clip(tokens, sizes[0], sizes[-1])
        own = np.exp(np.interp(np.log(inside), np.log(sizes), np.log(measured)))
        other = self.shapes[near].astype(int).tolist()
        ratio = self._law(tokens, inputs, outputs) / self._law(inside, *other)
        return np.asarray(own * ratio)

    def _law(self, tokens: Values, inputs: int, outputs: int) -> Values:
        roofline = Roofline(machine=self.machine, is_fused=True, captures_graphs=True)
        weights = inputs * outputs
        stored = weights * WEIGHT_BYTES[self.dtype]
        num_bytes = roofline.as_read("gpu", stored, weights, self.dtype)
        activations = tokens * (inputs + outputs) * _ACTIVATION_BYTES
        return roofline.roofline_ns(
            "gpu", num_bytes + activations, 2 * tokens * weights, _SINGLE_KERNEL, self.dtype
        )


def measured_products(path: Path, system: str, machine: Machine) -> Mapping[str, MeasuredProducts]:
    """The products of a system by the format of their weights.

    Raises InputError as ``table_places`` and ``read_table`` do.
    """
    import pandas as pd

    frames = []
    for place in table_places(path, "gemm", "gemm_perf", system):
        table = read_table(place, path, _COLUMNS)
        kept = table[table["gemm_dtype"].isin(list(FORMATS))]
        frames.append(kept.assign(framework=place.framework))
    rows = pd.concat(frames)
    rows["dtype"] = rows["gemm_dtype"].map(FORMATS)
    # A row without a size or a time says nothing of a kernel.
    rows = rows[(rows[["m", "n", "k", "latency"]] > 0).all(axis="columns")]
    rows = rows.sort_values("latency").drop_duplicates(["dtype", "m", "n", "k"])
    return MappingProxyType(
        {str(dtype): _products(machine, str(dtype), own) for dtype, own in rows.groupby("dtype")}
    )


def _products(machine: Machine, dtype: str, rows: "pd.DataFrame") -> MeasuredProducts:
    gpu = machine.gpu
    weights = rows["n"].astype(float) * rows["k"]
    ns = rows["latency"] * NS_PER_MS
    peak = gpu.flops_per_s[compute_type(gpu.flops_per_s, dtype)].value
    is_possible = (
        weights * WEIGHT_BYTES[dtype] / ns * NS_PER_S <= gpu.memory_bytes_per_s.value
    ) & (2 * weights * rows["m"] / ns * NS_PER_S <= peak)
    kept = rows[is_possible].sort_values("m")
    shapes = []
    times = []
    for (inputs, outputs), own in kept.groupby(["k", "n"]):
        shapes.append((inputs, outputs))
        times.append((own["m"].to_numpy(float), own["latency"].to_numpy(float) * NS_PER_MS))
    return MeasuredProducts(
        machine=machine,
        dtype=dtype,
        shapes=np.array(shapes, float),
        times=tuple(times),
        frameworks=tuple(sorted(set(kept["framework"]))),
        num_dropped=len(rows) - len(kept),
    )


def _summary(errors: list[float]) -> tuple[float, float]:
    return float(np.median(errors)), float(np.quantile(errors, 0.9))
