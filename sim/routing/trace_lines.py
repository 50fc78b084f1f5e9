"""Lines of JSON that hold expert ids, and the other lines between them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, parse_json, read_json
from hwprofiles.errors import shortened
from hwprofiles.input_file import text_lines
from hwprofiles.units import MIB

Line = tuple[str, dict[str, Any]]
"""A line: its place in the file, and the object that it holds."""
IDS = (
    "expert_ids",
    "routed_experts",
    "topk_ids",
    "topk_experts",
    "selected_experts",
    "experts",
)
"""Keys that may hold the chosen experts: Rosin's own, then those of engines and their logs."""
WEIGHTS = ("gate_weights", "topk_weights", "expert_weights", "weights")
LAYERS = ("layer", "layer_id", "layer_idx")
TOKENS = ("token", "token_idx", "token_index", "position")
REQUESTS = ("request_id", "req_id", "sequence", "sequence_id")
RESPONSE = ("prompt_routed_experts", "choices")
DATA = frozenset({*IDS, *WEIGHTS, *LAYERS, *TOKENS, *RESPONSE})
_NUMBER = re.compile(r"\d{1,5}")
META_WORDS = frozenset({"meta", "metadata", "header", "config"})
MAX_LINE_CHARACTERS = 64 * MIB
MAX_LINE_VALUES = 16_000_000
"""The most values of a line of JSON, which may hold a whole request: 40,000 tokens of 48 layers,
top-8.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The arrays of a trace file, and notes on what the import left out."""

    arrays: dict[str, NDArray[Any]]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class MetaLines:
    """A count of the lines without expert ids, with the place and the keys of the first.

    ``num_experts`` is what the first of them that states it says.
    """

    first: str = ""
    count: int = 0
    num_experts: int | None = None
    keys: list[str] = field(default_factory=list)

    def take(self, where: str, entry: Mapping[str, Any]) -> None:
        """Count one line, and keep the ``num_experts`` that it states if none was stated before."""
        self.first = self.first or where
        self.count += 1
        self.keys = self.keys or list(entry)
        stated = entry.get("num_experts")
        # The first that states it: later lines may be of other layers or models.
        if type(stated) is int and self.num_experts is None:
            self.num_experts = stated

    def notes(self) -> Iterator[str]:
        """Yield the note that says how many lines were skipped, if any."""
        if self.count:
            lines = "line holds" if self.count == 1 else "lines hold"
            keys = shortened(", ".join(self.keys), 100)
            yield f"{self.first}: {self.count:,} {lines} no expert ids: skipped (keys: {keys})"


def data_lines(path: Path, meta: MetaLines) -> Iterator[Line]:
    """Every line that should hold expert ids; ``meta`` takes the others. Raises InputError."""
    if path.suffix == ".json":
        # A .json file is one response, of one line or many.
        yield str(path), read_json(path, "routing trace")
        return
    for where, line in text_lines(path, "routing trace", MAX_LINE_CHARACTERS):
        entry = parse_json(line, where, max_values=MAX_LINE_VALUES)
        if is_meta(entry):
            meta.take(where, entry)
        else:
            yield where, entry


def is_meta(entry: Mapping[str, Any]) -> bool:
    """Whether a line describes the file and holds no choices.

    Either its ``type`` says so, or it has no key of a choice and no table as a value.
    """
    if not entry:
        return False
    kind = entry.get("type")
    is_named = isinstance(kind, str) and kind in META_WORDS
    if is_named and not any(name in entry for name in IDS):
        return True
    return DATA.isdisjoint(entry) and not any(_is_table(value) for value in entry.values())


def named(entry: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of ``names`` that the line has as a key; None where it has none of them."""
    return next((name for name in names if name in entry), None)


def table(value: Any, dtype: type, where: str) -> NDArray[Any]:
    """Return an array [token, layer, rank]; [layer, rank] of one token becomes a single row.

    Raises InputError.
    """
    if isinstance(value, dict):
        return _by_layer(value, dtype, where)
    found = numbers(value, dtype)
    if found is None or found.ndim not in (2, 3):
        shapes = "[token][layer][rank], or [layer][rank] for one token, rows equally long"
        raise InputError(f"{where} must be {_kind(dtype)} {shapes}")
    return found.reshape(-1, *found.shape[-2:])


def is_by_layer(names: Iterable[str]) -> bool:
    """Whether each name holds exactly one number, its layer's; False where there are no names."""
    found = [len(_NUMBER.findall(name)) for name in names]
    return bool(found) and all(count == 1 for count in found)


def layer_of(name: str) -> int:
    """Return the first number in a name, which is its layer's."""
    return int(_NUMBER.findall(name)[0])


def _by_layer(value: Mapping[str, Any], dtype: type, where: str) -> NDArray[Any]:
    """Return the array [token, layer, rank] of tables [token][rank] that are named by their layers.

    Layers are in the order of their numbers.
    """
    names = sorted(value, key=layer_of) if is_by_layer(value) else []
    tables = [numbers(value[name], dtype) for name in names]
    first = tables[0] if tables else None
    if first is None or first.ndim != 2 or len({layer_of(name) for name in names}) < len(names):
        raise InputError(
            f"{where} must have a table [token][rank] for each layer, named by its number"
        )
    same = [each for each in tables if each is not None and each.shape == first.shape]
    if len(same) < len(tables):
        raise InputError(
            f"{where}: all layers must have as many tokens and ranks as {names[0]}, {first.shape}"
        )
    return np.stack(same, axis=1)


def numbers(value: Any, dtype: type) -> NDArray[Any] | None:
    """Return the value as an array of ``dtype``.

    None where the value is empty, ragged, or holds anything but such numbers.
    """
    try:
        found = np.array(value)
    except ValueError:
        return None
    is_float = dtype is np.float64 and np.issubdtype(found.dtype, np.floating)
    # Ids written as 3.0 are refused: they may have been rounded on the way.
    if found.size == 0 or not (np.issubdtype(found.dtype, np.integer) or is_float):
        return None
    return found.astype(dtype)


def _kind(dtype: type) -> str:
    return "integers" if dtype is np.int64 else "numbers"


def _is_table(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(isinstance(item, list) for item in inner)
