"""What a study varies: one path with its values, as ``path=values`` says it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from hwprofiles import InputError, Machine, closest, load_machine
from hwprofiles.units import parse_number
from planner.search.plan import Setting
from planner.study.machine_paths import machine_values

Value = int | float | str

COUNTS: Mapping[str, str] = MappingProxyType(
    {
        "prompt_tokens": "prompt_tokens",
        "output_tokens": "output_tokens",
        "batch": "batch_size",
        "beams": "beams",
        "expert_slots_per_layer": "expert_slots_per_layer",
        "seed": "seed",
    }
)
"""Whole numbers of the scenario that may vary, with their key in a setting."""

NAMES = ("model", "machine", "quantization", "routing")
"""Names of the scenario that may vary."""

TEXT_FIELDS = frozenset({"name", "description", "format"})
EXAMPLE = "for example link.h2d.bytes_per_s=12e9,25e9,50e9 or batch=1:16:5:log"
MAX_VALUES = 1_000_000
# A double has 15 digits; with fewer, steps of a range show no rounding errors.
_KEPT_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One path and its values in the order given; ``texts`` are the values as they were typed."""

    path: str
    values: tuple[Value, ...]
    texts: tuple[str, ...]

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers, not names."""
        return self.path not in NAMES

    def applied(self, setting: Setting, value: Value) -> Setting:
        """Return the setting with this value; ``planner.study.study_check`` validates it."""
        if self.path in NAMES:
            return setting.model_copy(update={self.path: value})
        if self.path in COUNTS:
            return setting.model_copy(update={COUNTS[self.path]: value})
        # An override, so that the machine file's own rules check the number.
        return with_override(setting, self.path, float(value))


def with_override(setting: Setting, path: str, value: float) -> Setting:
    """Return the setting with one number of the machine overridden.

    The override takes the place of an earlier one of the same path.
    """
    others = [text for text in setting.machine_overrides if text.partition("=")[0] != path]
    return setting.model_copy(update={"machine_overrides": (*others, f"{path}={value!r}")})


def parse_axes(arguments: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of several ``path=values``.

    Raises InputError, one line that names the argument, also for a path said twice.
    """
    axes = tuple(parse_axis(argument) for argument in arguments)
    paths = [axis.path for axis in axes]
    for path in paths:
        if paths.count(path) > 1:
            raise InputError(f"`vary` {path}: said twice; write all its values in one list")
    return axes


def parse_axis(argument: str) -> Axis:
    """Return the axis of one ``path=values``, whose values are separated by commas.

    Values are names, numbers with units, or ranges ``start:stop:count`` or
    ``start:stop:count:log``. Raises InputError, one line that names the argument.
    """
    path, equals, text = argument.partition("=")
    path = path.strip()
    if not (path and equals):
        raise InputError(f"`vary` {argument}: write path=values, {EXAMPLE}")
    # Counts are spelt with hyphens on the command line.
    path = path.replace("-", "_") if path.replace("-", "_") in COUNTS else path
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise InputError(f"`vary` {argument}: an empty value; write {EXAMPLE}")
    _check_path(path)
    try:
        pairs = (
            [(item, item) for item in items]
            if path in NAMES
            else [pair for item in items for pair in _numbers(path, item)]
        )
    except ValueError as error:
        raise InputError(f"`vary` {argument}: {error}") from None
    values = tuple(value for value, _ in pairs)
    for place, (value, label) in enumerate(pairs):
        # Both would be one point, but stand twice in tables.
        if values.index(value) < place:
            raise InputError(f"`vary` {argument}: {label} is there twice")
    return Axis(path=path, values=values, texts=tuple(label for _, label in pairs))


def _check_path(path: str) -> None:
    """Raise InputError for a path that cannot vary.

    The keys below a machine's part are checked on the machines themselves.
    """
    first, _, _ = path.partition(".")
    if path in COUNTS or path in NAMES:
        return
    if path == "policy":
        raise InputError(
            "`vary` policy: each point is planned anew and says what every named system reaches; rosin compare fixes them"
        )
    if first not in Machine.model_fields or path.rpartition(".")[2] in TEXT_FIELDS:
        # Paths differ little between machines, so those of any one serve for a hint.
        choices = {*COUNTS, *NAMES, "price_usd", *machine_values(load_machine("h100"))}
        raise InputError(
            f"`vary` {path}: neither a number of a machine nor a key of the scenario{_nearest(path, choices)}"
        )


def _nearest(path: str, choices: set[str]) -> str:
    """Return a hint at the nearest valid path: one that ends the same way, or is spelt alike."""
    ending = sorted(choice for choice in choices if choice.endswith(f".{path}"))
    if ending:
        return f"; did you mean {ending[0]!r}?"
    hint = closest(path, choices)
    return (
        hint
        if hint.startswith("; did you mean")
        else f"; the scenario's: {', '.join((*NAMES, *COUNTS))}; see rosin machines NAME"
    )


def _numbers(path: str, item: str) -> Iterator[tuple[Value, str]]:
    """The numbers of one item, each with the text that repeats it. Raises ValueError."""
    parts = item.split(":")
    if len(parts) == 1:
        yield _number(path, parse_number(item), item), item
        return
    for value in _range(item, parts):
        yield _number(path, value, item), f"{value:.{_KEPT_DIGITS}g}"


def _range(item: str, parts: list[str]) -> list[float]:
    if len(parts) not in (3, 4) or (len(parts) == 4 and parts[3] != "log"):
        raise ValueError(f"{item} is not a range; write start:stop:count or start:stop:count:log")
    start, stop, count = (parse_number(part) for part in parts[:3])
    if not (count.is_integer() and 2 <= count <= MAX_VALUES):
        raise ValueError(
            f"{item}: the count must be a whole number from 2 to {MAX_VALUES:,}, got {parts[2]}"
        )
    if len(parts) == 3:
        values = np.linspace(start, stop, int(count))
    elif start > 0 and stop > 0:
        values = np.geomspace(start, stop, int(count))
    else:
        raise ValueError(f"{item}: both ends of a logarithmic range must be greater than 0")
    # The value is what its text says, so that typing the text again names the same point.
    return [float(f"{value:.{_KEPT_DIGITS}g}") for value in values.tolist()]


def _number(path: str, value: float, item: str) -> int | float:
    if not math.isfinite(value):
        raise ValueError(f"{item} is not finite")
    if path not in COUNTS:
        return value
    if not value.is_integer() or value < 0:
        raise ValueError(f"{path} takes whole numbers, got {value:g}")
    return int(value)
