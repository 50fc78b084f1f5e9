"""Logs of routing by layer, as hooks behind a router write them.

A line is of one token and layer, or of the tokens of a step and a layer. After ``select_experts``
in vLLM, for example, a hook may write ``{"type": "route", "req_id": "r0", "token_idx": 5, "layer":
0, "topk_ids": [3, 7], "topk_weights": [0.6, 0.4]}``.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from hwprofiles.errors import shortened
from sim.routing.choice_rows import dense
from sim.routing.trace_lines import (
    IDS,
    LAYERS,
    REQUESTS,
    TOKENS,
    WEIGHTS,
    Imported,
    Line,
    named,
    numbers,
)

MAX_LAYER = 10_000
MAX_TOKEN = 2**53
"""The limit of token numbers; up to it a float is exact."""


@dataclass(slots=True)
class _Rows:
    """The lines read so far.

    ``places`` has (sequence, token, layer) for each token of each line. ``ids`` and ``weights``
    have an array [token, rank] for each line. ``sequences`` numbers the requests. ``num_seen``
    counts the tokens by (sequence, layer), and ``ignored`` holds the names of unused keys.
    """

    places: list[tuple[int, int, int]] = field(default_factory=list)
    ids: list[NDArray[np.int64]] = field(default_factory=list)
    weights: list[NDArray[np.float64]] = field(default_factory=list)
    sequences: dict[Any, int] = field(default_factory=dict)
    num_seen: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    ignored: dict[str, None] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any], where: str) -> None:
        """Take one line. Raises InputError."""
        key = named(entry, IDS)
        if key is None:
            raise InputError(
                f"{where}: no key {', '.join(IDS[:3])} or the like beside {named(entry, LAYERS)}"
            )
        ids = _by_token(entry[key], np.int64, f"{where}: {key}")
        # Arrays need one width; a model selects as many experts in every layer.
        if self.ids and ids.shape[1] != self.ids[0].shape[1]:
            first = self.ids[0].shape[1]
            raise InputError(
                f"{where}: {key} names {ids.shape[1]} experts of a token, the first line {first}"
            )
        layer = _layer(entry, where)
        sequence = self._sequence(entry, where)
        for token in self._tokens(entry, (sequence, layer), len(ids), where):
            self.places.append((sequence, token, layer))
        self.ids.append(ids)
        weights_key = named(entry, WEIGHTS)
        if weights_key is not None:
            self.weights.append(_same_shape(entry[weights_key], ids, f"{where}: {weights_key}"))
        used = (*IDS, *WEIGHTS, *LAYERS, *TOKENS, *REQUESTS)
        self.ignored |= dict.fromkeys(name for name in entry if name not in used)

    def _sequence(self, entry: Mapping[str, Any], where: str) -> int:
        """Return the number of a line's request; requests are numbered in order of appearance.

        Raises InputError.
        """
        key = named(entry, REQUESTS)
        request = None if key is None else entry[key]
        if isinstance(request, list | dict):
            raise InputError(f"{where}: {key} must be text or a number")
        return self.sequences.setdefault(request, len(self.sequences))

    def _tokens(
        self, entry: Mapping[str, Any], at: tuple[int, int], count: int, where: str
    ) -> range:
        """Return the numbers of a line's tokens in their sequence.

        If the line states no first number, they follow the tokens of the lines before.
        """
        key = named(entry, TOKENS)
        first = self.num_seen[at] if key is None else entry[key]
        # By type, since True is an int for isinstance.
        if type(first) is not int or not 0 <= first < MAX_TOKEN:
            raise InputError(
                f"{where}: {key} must be a whole number of at least 0, got {shortened(repr(first))}"
            )
        self.num_seen[at] += count
        return range(first, first + count)


def is_layer_row(entry: Mapping[str, Any]) -> bool:
    """Whether a line states a layer."""
    return named(entry, LAYERS) is not None


def read_layer_log(path: Path, lines: Iterable[Line]) -> Imported:
    """Return the trace: requests in order of appearance, logged layers renumbered from 0.

    Raises InputError.
    """
    found = _Rows()
    for where, entry in lines:
        if not is_layer_row(entry):
            raise InputError(f"{where}: no key {' or '.join(LAYERS)}, which the lines before have")
        found.add(entry, where)
    if not found.ids:
        raise InputError(f"{path}: no rows of expert ids under the header")
    if found.weights and len(found.weights) != len(found.ids):
        raise InputError(
            f"{path}: weights must be on every line or on none, they are on {len(found.weights)} of {len(found.ids)}"
        )
    # Logs number layers as the model does, dense ones included; a trace has the MoE layers alone.
    layers, number = np.unique([layer for _, _, layer in found.places], return_inverse=True)
    ids = np.concatenate(found.ids)
    weights = np.concatenate(found.weights) if found.weights else np.zeros(ids.shape)
    places = np.array(found.places, np.float64)
    places[:, 2] = number
    arrays = dense(_flat(places, ids, weights), bool(found.weights), str(path))
    return Imported(arrays=arrays, notes=tuple(_notes(path, layers.tolist(), list(found.ignored))))


def _flat(
    places: NDArray[np.float64], ids: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a row (sequence, token, layer, rank, expert, weight) for each choice.

    ``places`` is [row, 3], ``ids`` and ``weights`` are [row, rank].
    """
    num_rows, ranks = ids.shape
    rank = np.tile(np.arange(ranks), num_rows)
    return np.column_stack([np.repeat(places, ranks, axis=0), rank, ids.ravel(), weights.ravel()])


def _notes(path: Path, layers: list[int], ignored: list[str]) -> Iterable[str]:
    if layers != list(range(len(layers))):
        named_layers = shortened(", ".join(map(str, layers)), 80)
        yield f"{path}: layers {named_layers} are taken for the model's {len(layers)} MoE layers, in their order"
    if ignored:
        yield f"{path}: not needed and ignored: {shortened(', '.join(ignored), 160)}"


def _layer(entry: Mapping[str, Any], where: str) -> int:
    key = named(entry, LAYERS)
    assert key is not None
    layer = entry[key]
    if type(layer) is not int or not 0 <= layer < MAX_LAYER:
        raise InputError(
            f"{where}: {key} must be a whole number from 0 to {MAX_LAYER - 1:,}, got {shortened(repr(layer))}"
        )
    return layer


def _by_token(value: Any, dtype: type, where: str) -> NDArray[Any]:
    """Return numbers [token, rank]; one token's [rank] becomes a single row.

    Raises InputError that begins with ``where``.
    """
    found = numbers(value, dtype)
    if found is None or found.ndim not in (1, 2):
        kind = "integers" if dtype is np.int64 else "numbers"
        raise InputError(
            f"{where} must be {kind} [rank] of one token, or [token][rank], rows equally long"
        )
    return found.reshape(-1, found.shape[-1])


def _same_shape(value: Any, ids: NDArray[np.int64], where: str) -> NDArray[np.float64]:
    weights = _by_token(value, np.float64, where)
    if weights.shape != ids.shape:
        raise InputError(f"{where} is of shape {weights.shape}, the ids are of {ids.shape}")
    return weights
