"""The trace file: an ``.npz`` of expert ids, with optional arrays such as gate weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from hwprofiles.errors import shortened
from hwprofiles.input_file import is_there
from hwprofiles.limits import MAX_EXPERTS
from hwprofiles.text_file import whole_file
from sim.routing.npz_arrays import read_arrays
from sim.routing.recorded import RecordedRouting

MAX_WEIGHT = 1e6
"""The largest gate weight that is read.

Shares of a softmax are at most 1, but some models scale them.
"""
KEYS = ("expert_ids", "gate_weights", "sequence_num_tokens", "token_ids", "num_experts")


def load_trace(path: Path) -> RecordedRouting:
    """Read an ``.npz`` trace with ``expert_ids`` [token, MoE layer, rank].

    Optional arrays are ``gate_weights`` of the same shape, ``sequence_num_tokens`` [sequence],
    ``token_ids`` [token] and ``num_experts``. Raises InputError for any other file.
    """
    if not is_there(path):
        raise InputError(f"no routing trace {path}")
    arrays, found = read_arrays(path, KEYS)
    if "expert_ids" not in arrays:
        raise InputError(
            f"{path}: no array expert_ids [token, MoE layer, rank]; found: {shortened(', '.join(found))}"
        )
    return make_trace(arrays, name=path.stem, where=str(path))


def make_trace(arrays: Mapping[str, NDArray[Any]], *, name: str, where: str) -> RecordedRouting:
    """Return a recording of the arrays of a trace file.

    If there are gate weights, ranks are sorted by descending weight; equal ones keep their order.
    Raises InputError that begins with ``where``.
    """
    ids = arrays["expert_ids"]
    check_ids(ids, where)
    num_experts = int(ids.max()) + 1
    if "num_experts" in arrays:
        stated = _stated_experts(arrays["num_experts"], where)
        if stated < num_experts:
            raise InputError(
                f"{where}: num_experts is {stated}, but expert id {num_experts - 1} occurs"
            )
        num_experts = stated
    ids, weights = _by_weight(ids.astype(np.int16), arrays.get("gate_weights"), where)
    return RecordedRouting(
        name=name,
        expert_ids=ids,
        num_experts=num_experts,
        weights=weights,
        sequence_num_tokens=_lengths(arrays.get("sequence_num_tokens"), len(ids), where),
        token_ids=_token_ids(arrays.get("token_ids"), len(ids), where),
    )


def _stated_experts(array: NDArray[Any], where: str) -> int:
    if (
        array.size != 1
        or not np.issubdtype(array.dtype, np.integer)
        or not 1 <= int(array.item()) <= MAX_EXPERTS
    ):
        raise InputError(f"{where}: num_experts must be one whole number from 1 to {MAX_EXPERTS:,}")
    return int(array.item())


def save_trace(trace: RecordedRouting, path: Path) -> None:
    """Write the ``.npz`` that ``load_trace`` reads; whole or not at all.

    Raises InputError where it cannot be written.
    """
    # A byte an id where it suffices: traces have millions.
    small = np.uint8 if trace.num_experts <= np.iinfo(np.uint8).max + 1 else np.int16
    arrays: dict[str, NDArray[Any]] = {
        "expert_ids": trace.expert_ids.astype(small),
        "num_experts": np.array(trace.num_experts),
    }
    arrays["sequence_num_tokens"] = np.diff(trace.borders).astype(np.int32)
    if trace.weights is not None:
        arrays["gate_weights"] = trace.weights.astype(np.float16)
    if trace.token_ids is not None:
        arrays["token_ids"] = trace.token_ids
    with whole_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def check_ids(ids: NDArray[Any], where: str) -> None:
    """Refuse an array that is not of expert ids [token, MoE layer, rank], distinct along rank.

    Raises InputError.
    """
    if ids.ndim != 3 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(
            f"{where}: expert_ids must be integers [token, MoE layer, rank], got {ids.dtype} {ids.shape}"
        )
    if ids.min() < 0 or ids.max() > np.iinfo(np.int16).max:
        raise InputError(
            f"{where}: expert_ids must be between 0 and {np.iinfo(np.int16).max}, got {ids.min()} to {ids.max()}"
        )
    # Sorted, equal ids stand side by side.
    if (np.diff(np.sort(ids, axis=2), axis=2) == 0).any():
        raise InputError(
            f"{where}: expert_ids must differ along rank: some token selects an expert twice"
        )


def _by_weight(
    ids: NDArray[np.int16], weights: NDArray[Any] | None, where: str
) -> tuple[NDArray[np.int16], NDArray[np.float32] | None]:
    if weights is None:
        return ids, None
    if weights.shape != ids.shape or not np.issubdtype(weights.dtype, np.floating):
        raise InputError(
            f"{where}: gate_weights must be numbers of the shape of expert_ids, {ids.shape}, got {weights.dtype} {weights.shape}"
        )
    if not (
        np.isfinite(weights).all()
        and 0 <= float(weights.min()) <= float(weights.max()) <= MAX_WEIGHT
    ):
        raise InputError(
            f"{where}: gate_weights must be finite, at least 0 and at most {MAX_WEIGHT:g}"
        )
    # Ranks descend by weight everywhere else; logs have them in any order.
    order = np.argsort(-weights, axis=2, kind="stable")
    return np.take_along_axis(ids, order, axis=2), np.take_along_axis(
        weights, order, axis=2
    ).astype(np.float32)


def _lengths(lengths: NDArray[Any] | None, num_tokens: int, where: str) -> NDArray[np.int64] | None:
    if lengths is None:
        return None
    if (
        lengths.ndim != 1
        or not np.issubdtype(lengths.dtype, np.integer)
        or (lengths <= 0).any()
        or _sum(lengths) != num_tokens
    ):
        raise InputError(
            f"{where}: sequence_num_tokens must be positive integers that sum to the {num_tokens} tokens, got sum {_sum(lengths)}"
        )
    return lengths.astype(np.int64)


def _sum(lengths: NDArray[Any]) -> int:
    """Return the exact sum of a list of integers, or 0 for any other array.

    A sum in 64 bits could overflow and come round to the right number.
    """
    return (
        sum(lengths.tolist())
        if lengths.ndim == 1 and np.issubdtype(lengths.dtype, np.integer)
        else 0
    )


def _token_ids(
    token_ids: NDArray[Any] | None, num_tokens: int, where: str
) -> NDArray[np.int64] | None:
    if token_ids is None:
        return None
    if token_ids.shape != (num_tokens,) or not np.issubdtype(token_ids.dtype, np.integer):
        raise InputError(
            f"{where}: token_ids must be one integer for each of {num_tokens} tokens, got {token_ids.dtype} {token_ids.shape}"
        )
    return token_ids.astype(np.int64)
