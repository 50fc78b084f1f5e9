"""Read grouped experts from the kernel tables of NVIDIA's aiconfigurator-core.

``moe/…/moe_perf.parquet`` holds the times of calls for one layer's experts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hwprofiles.units import NS_PER_MS
from validation.kernel_tables.grouped_rows import (
    ExpertShape,
    GroupedRow,
    GroupedRows,
    fastest,
    num_activated,
    without_slow_kernels,
)
from validation.kernel_tables.parquet import LICENCE, read_table, table_places, version_of

# Only reading a table needs pandas, which takes long to import.
if TYPE_CHECKING:
    import pandas as pd

FORMATS = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "int4_wo": "int4",
    "w4a16_mxfp4": "mxfp4",
    "nvfp4": "nvfp4",
}
"""Formats of weights by ``moe_dtype``. Other values mix formats in ways that no curve tells
apart.
"""

LEAST_EVEN = 16
"""Tokens an expert from which a power law of 1.01 counts as even.

The number is that of validation/published/kernels.
"""

_COLUMNS = ("moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts")
_UNSPLIT = ("moe_tp_size", "moe_ep_size")


def aiconfigurator_rows(path: Path, system: str) -> GroupedRows:
    """Return a system's rows with tokens dealt out evenly over unsplit experts.

    Each call has the row of the fastest framework. Raises InputError for a path without such
    tables, an unknown system, a table without the columns, or if pyarrow is not installed.
    """
    places = table_places(path, "moe", "moe_perf", system)
    rows: list[GroupedRow] = []
    ignored: set[str] = set()
    num_skewed = num_split = num_impossible = 0
    for place in places:
        table = read_table(place, path, (*_COLUMNS, *_UNSPLIT, "distribution"))
        is_even = _counts_as_even(table)
        is_whole = (table[list(_UNSPLIT)] == 1).all(axis="columns")
        is_possible = _is_possible(table)
        num_skewed += int((~is_even).sum())
        num_split += int((is_even & ~is_whole).sum())
        num_impossible += int((is_even & is_whole & ~is_possible).sum())
        kept = table[is_even & is_whole & is_possible]
        ignored |= set(kept["moe_dtype"]) - set(FORMATS)
        rows += _rows(kept[kept["moe_dtype"].isin(list(FORMATS))], place.framework)
    able, slow = without_slow_kernels(rows)
    chosen = fastest(able)
    frameworks = ", ".join(sorted({row.framework for row in chosen}))
    return GroupedRows(
        rows=chosen,
        source=f"NVIDIA aiconfigurator-core{version_of(path)} ({LICENCE}), {system}, grouped experts, "
        f"tokens dealt out evenly or nearly, the fastest of {frameworks}",
        date="2026",
        passed_over=(
            *_passed_over(num_skewed, num_split, num_impossible, sorted(ignored)),
            *([f"slow kernels of {', '.join(slow)}"] if slow else []),
        ),
    )


def _counts_as_even(table: "pd.DataFrame") -> "pd.Series[bool]":
    """Return which rows count as dealing tokens out evenly.

    Slightly skewed rows count, too, where skew changes little: one token, or 16 tokens an expert
    and more. Some frameworks measured skewed tokens alone.
    """
    selected = table["num_tokens"] * table["topk"]
    changes_little = (table["num_tokens"] == 1) | (selected >= LEAST_EVEN * table["num_experts"])
    distribution = table["distribution"]
    return (distribution == "balanced") | ((distribution == "power_law_1.01") & changes_little)


def _is_possible(table: "pd.DataFrame") -> "pd.Series[bool]":
    """Return which rows have all sizes and a time; a missing number is not above 0.

    Any other row says nothing of a kernel.
    """
    sizes = ["num_tokens", "hidden_size", "inter_size", "topk", "latency"]
    return (table[sizes] > 0).all(axis="columns") & (table["topk"] <= table["num_experts"])


def _passed_over(
    num_skewed: int, num_split: int, num_impossible: int, ignored: list[str]
) -> tuple[str, ...]:
    words = ", ".join(ignored)
    return (
        f"{num_skewed:,} rows of skewed tokens",
        f"{num_split:,} rows of experts split over GPUs",
        *([f"{num_impossible:,} rows without a size or a time"] if num_impossible else []),
        *([f"formats {words}"] if ignored else []),
    )


def _rows(table: "pd.DataFrame", framework: str) -> Iterator[GroupedRow]:
    for dtype, tokens, hidden, inter, top_k, experts, ms in zip(
        *(table[name] for name in (*_COLUMNS, "latency")), strict=True
    ):
        shape = ExpertShape(
            hidden=int(hidden), intermediate=int(inter), num_experts=int(experts), top_k=int(top_k)
        )
        yield GroupedRow(
            dtype=FORMATS[dtype],
            shape=shape,
            tokens=int(tokens),
            num_activated=num_activated(int(tokens), shape.num_experts, shape.top_k),
            ns=float(ms) * NS_PER_MS,
            framework=framework,
        )
