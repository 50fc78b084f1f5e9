"""Read measured attention kernels: scores and sums alone, the fastest framework of each.

``attention/…/context_attention_perf.parquet`` has prompts, ``generation_attention_perf.parquet``
has single tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwprofiles.units import NS_PER_MS
from validation.kernel_tables.parquet import read_table, table_places

Values = NDArray[np.float64]

_COLUMNS = (
    *("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim"),
    *("attn_dtype", "kv_cache_dtype", "step"),
)
_KEY = ["num_heads", "num_key_value_heads", "head_dim", "batch_size"]


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class HeadShape:
    """Numbers of query heads and of key-value heads, and the dimension of each head."""

    num_heads: int
    num_kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredAttention:
    """Rising tokens and their ns, by shape of heads and number of sequences.

    Tokens of ``decode`` are the context's, those of ``prefill`` the prompt's, from position 0.
    """

    decode: Mapping[tuple[HeadShape, int], tuple[Values, Values]]
    prefill: Mapping[tuple[HeadShape, int], tuple[Values, Values]]
    frameworks: tuple[str, ...]


def measured_attention(path: Path, system: str) -> MeasuredAttention:
    """Return the 16-bit attention kernels of a system, without windows.

    Raises InputError as ``table_places`` and ``read_table`` do.
    """
    decode, ones = _times(path, system, "generation_attention_perf")
    prefill, others = _times(path, system, "context_attention_perf")
    return MeasuredAttention(
        decode=decode, prefill=prefill, frameworks=tuple(sorted(ones | others))
    )


def _times(
    path: Path, system: str, name: str
) -> tuple[dict[tuple[HeadShape, int], tuple[Values, Values]], set[str]]:
    import pandas as pd

    frames = []
    for place in table_places(path, "attention", name, system):
        table = read_table(place, path, _COLUMNS)
        is_plain = (
            (table["attn_dtype"] == "bfloat16")
            & (table["kv_cache_dtype"] == "bfloat16")
            & (table["latency"] > 0)
        )
        # Older tables have no windows.
        if "window_size" in table.columns:
            is_plain &= table["window_size"] == 0
        frames.append(table[is_plain].assign(framework=place.framework))
    rows = pd.concat(frames)
    # Tokens that are attended to: those before, and those of the pass itself.
    rows["tokens"] = rows["isl"] + rows["step"]
    rows = rows.sort_values("latency").drop_duplicates([*_KEY, "tokens"])
    found = {}
    for key, own in rows.sort_values("tokens").groupby(_KEY):
        heads, kv_heads, dim, sequences = np.asarray(key, int).tolist()
        shape = HeadShape(num_heads=heads, num_kv_heads=kv_heads, head_dim=dim)
        times = own["latency"].to_numpy(float) * NS_PER_MS
        found[shape, sequences] = own["tokens"].to_numpy(float), times
    return found, set(rows["framework"])
