"""Builds the arrays of a trace from choices in any order; each must be there exactly once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError


def dense(rows: NDArray[np.float64], has_weights: bool, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a trace file from rows (sequence, token, layer, rank, expert, weight).

    Raises InputError where a choice of a token is missing or there twice.
    """
    tokens, index = np.unique(rows[:, :2], axis=0, return_inverse=True)
    layers = int(rows[:, 2].max()) + 1
    ranks = int(rows[:, 3].max()) + 1
    # Each choice has one place in the trace; complete is what has every place once.
    place = (index.reshape(-1) * layers + rows[:, 2].astype(np.int64)) * ranks + rows[:, 3].astype(
        np.int64
    )
    wrong, count = _first_wrong(place, len(tokens) * layers * ranks)
    if wrong is not None:
        sequence, token = tokens[wrong // (layers * ranks)].astype(int)
        at = f"sequence {sequence}, token {token}, layer {wrong // ranks % layers}, rank {wrong % ranks}"
        raise InputError(f"{where}: every choice must be there once, {at} is there {count} times")
    table = rows[np.argsort(place), 4:].reshape(len(tokens), layers, ranks, 2)
    arrays: dict[str, NDArray[Any]] = {"expert_ids": table[..., 0].astype(np.int64)}
    arrays["sequence_num_tokens"] = np.unique(tokens[:, 0], return_counts=True)[1]
    return arrays | ({"gate_weights": table[..., 1]} if has_weights else {})


def _first_wrong(places: NDArray[np.int64], num_places: int) -> tuple[int | None, int]:
    """Return the first place that is not there exactly once, and how often it is there.

    The place is None where all are there once. There may be far more places than rows, so only the
    rows are in memory.
    """
    found, counts = np.unique(places, return_counts=True)
    is_wrong = (found != np.arange(len(found))) | (counts != 1)
    if is_wrong.any():
        first = int(np.argmax(is_wrong))
        return (first, int(counts[first])) if found[first] == first else (first, 0)
    return (len(found), 0) if len(found) < num_places else (None, 1)
