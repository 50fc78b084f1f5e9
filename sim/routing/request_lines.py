"""Expert ids by request or by token: Rosin's own lines, and the responses of vLLM.

vLLM (``--enable-return-routed-experts``, docs/training/routed_experts_replay.md of 0.21) returns
``prompt_routed_experts`` [token][layer][rank] with a response. All choices of the response share
that prompt. With each choice it returns ``routed_experts`` of the generated tokens. Ids of -1 stand
for tokens whose keys and values were cached, so that no router saw them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, unknown_name
from sim.routing.trace_lines import RESPONSE, Imported, Line, is_by_layer, named, table

OWN_IDS = ("expert_ids", "routed_experts")
OWN_KEYS = (*OWN_IDS, "gate_weights", "token_ids", "request_id")
PROMPT, CHOICES = RESPONSE
GENERATED = "routed_experts"
NOT_RECORDED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Consecutive tokens of one request.

    ``ids`` and ``weights`` are [token, layer, rank], ``token_ids`` [token].
    """

    where: str
    request: Any
    ids: NDArray[np.int64]
    weights: NDArray[np.float64] | None = None
    token_ids: NDArray[np.int64] | None = None


@dataclass(slots=True)
class _LeftOut:
    """Counts of tokens and of responses without recorded experts.

    ``first`` is the place of the first such response.
    """

    num_tokens: int = 0
    num_responses: int = 0
    first: str = ""

    def notes(self, path: Path) -> Iterator[str]:
        """Yield the notes on what was left out, if anything."""
        if self.num_tokens:
            yield f"{path}: {self.num_tokens:,} tokens were cached, and their experts not recorded (ids of -1): left out"
        if self.num_responses:
            yield f"{self.first}: {self.num_responses:,} responses hold no routed experts: left out"


@dataclass(slots=True)
class _Parts:
    """The arrays of all pieces, and the request of each token."""

    ids: list[NDArray[np.int64]] = field(default_factory=list)
    weights: list[NDArray[np.float64]] = field(default_factory=list)
    token_ids: list[NDArray[np.int64]] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)

    def add(self, piece: _Piece) -> None:
        """Add one piece. Raises InputError where its shape differs from that of the first."""
        shape = piece.ids.shape[1:]
        if self.ids and shape != self.ids[0].shape[1:]:
            first = self.ids[0].shape[1:]
            raise InputError(
                f"{piece.where}: expert ids are of {shape} layers and ranks, the first were of {first}"
            )
        self.ids.append(piece.ids)
        # A name for each token: sequences are what stands together under one name.
        self.requests += [piece.request] * len(piece.ids)
        if piece.weights is not None:
            self.weights.append(piece.weights)
        if piece.token_ids is not None:
            self.token_ids.append(piece.token_ids)

    def arrays(self, path: Path) -> dict[str, NDArray[Any]]:
        """Return the arrays of a trace file.

        Raises InputError for an array that only some lines have.
        """
        borders = [
            index
            for index in range(len(self.requests))
            if not index or self.requests[index] != self.requests[index - 1]
        ]
        lengths = np.diff([*borders, len(self.requests)])
        arrays: dict[str, NDArray[Any]] = {
            "expert_ids": np.concatenate(self.ids),
            "sequence_num_tokens": lengths,
        }
        optional: tuple[tuple[str, list[Any]], ...] = (
            ("gate_weights", self.weights),
            ("token_ids", self.token_ids),
        )
        for name, parts in optional:
            if parts and len(parts) != len(self.ids):
                raise InputError(
                    f"{path}: {name} must be on every line or on none, it is on {len(parts)} of {len(self.ids)}"
                )
            if parts:
                arrays[name] = np.concatenate(parts)
        return arrays


def read_requests(path: Path, lines: Iterable[Line]) -> Imported:
    """The trace: consecutive tokens of one request are a sequence. Raises InputError."""
    parts = _Parts()
    left_out = _LeftOut()
    for where, entry in lines:
        is_response = any(name in entry for name in RESPONSE)
        pieces = _of_response(entry, where, left_out) if is_response else (_own(entry, where),)
        for piece in pieces:
            parts.add(piece)
    if not parts.ids:
        raise InputError(
            f"{path}: no response holds routed experts; vLLM returns them with --enable-return-routed-experts"
        )
    return Imported(arrays=parts.arrays(path), notes=tuple(left_out.notes(path)))


def _own(entry: Mapping[str, Any], where: str) -> _Piece:
    if is_by_layer(entry):
        ids = table(dict(entry), np.int64, f"{where}: arrays by layer")
        return _Piece(where=where, request=f"line {where}", ids=ids)
    for name in entry:
        if name not in OWN_KEYS:
            raise InputError(f"{where}: {unknown_name('key', name, OWN_KEYS)}")
    key = named(entry, OWN_IDS)
    if key is None:
        raise InputError(f"{where}: no key {' or '.join(OWN_IDS)}")
    ids = table(entry[key], np.int64, f"{where}: {key}")
    weights = None
    if "gate_weights" in entry:
        weights = table(entry["gate_weights"], np.float64, f"{where}: gate_weights")
        if weights.shape != ids.shape:
            raise InputError(
                f"{where}: gate_weights are of shape {weights.shape}, {key} of {ids.shape}"
            )
    token_ids = _token_ids(entry["token_ids"], len(ids), where) if "token_ids" in entry else None
    request = entry.get("request_id", f"line {where}")
    return _Piece(where=where, request=request, ids=ids, weights=weights, token_ids=token_ids)


def _of_response(entry: Mapping[str, Any], where: str, left_out: _LeftOut) -> Iterator[_Piece]:
    """Yield the prompt with the first choice, then each other choice.

    The prompt's experts are given once, as the prompt was computed once.
    """
    tables = [_recorded(entry.get(PROMPT), f"{where}: {PROMPT}", left_out)]
    found = False
    for number, choice in enumerate(_choices(entry, where)):
        tables.append(
            _recorded(choice.get(GENERATED), f"{where}: {CHOICES}[{number}].{GENERATED}", left_out)
        )
        request = (where, number)
        for ids in tables:
            if ids is not None:
                found = True
                yield _Piece(where=where, request=request, ids=ids)
        # The prompt's experts are given out once, with the first choice.
        tables = []
    if not found:
        left_out.num_responses += 1
        left_out.first = left_out.first or where


def _choices(entry: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    """Return the choices of a response. Raises InputError.

    A record without choices is its own, as in files of vLLM's Python objects.
    """
    choices = entry.get(CHOICES)
    if choices is None:
        return [entry]
    if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
        raise InputError(f"{where}: {CHOICES} must be a list of objects")
    return choices or [{}]


def _recorded(value: Any, where: str, left_out: _LeftOut) -> NDArray[np.int64] | None:
    """Return the ids [token, layer, rank] of the tokens whose experts are known.

    None where there are no such tokens.
    """
    if value is None or value == []:
        return None
    ids = table(value, np.int64, where)
    # Only where all of a token's are missing: single ones would be a broken record, refused later.
    is_missing = (ids == NOT_RECORDED).all(axis=(1, 2))
    left_out.num_tokens += int(is_missing.sum())
    return None if is_missing.all() else ids[~is_missing]


def _token_ids(value: Any, num_tokens: int, where: str) -> NDArray[np.int64]:
    found = np.array(value if isinstance(value, list) else [value], dtype=object)
    if found.shape != (num_tokens,) or not all(
        type(item) is int and abs(item) < 2**63 for item in found
    ):
        raise InputError(
            f"{where}: token_ids must be one integer of 64 bits for each of its {num_tokens} tokens"
        )
    return found.astype(np.int64)
