"""Overrides from the command line: ``link.h2d.bytes_per_s=50e9`` on machine data."""

import math
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from hwprofiles.curve import Curve, Operation
from hwprofiles.errors import InputError, closest
from hwprofiles.machine import Machine, ResourceName
from hwprofiles.problems import fields_of, nested_model
from hwprofiles.quantity import UNDATED, Kind, Quantity
from hwprofiles.units import parse_number

SOURCE = "set by the user"


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of machine data with each ``path=value`` set, in order.

    The value is an effective one: a quantity loses its efficiency, its kind becomes ``assumed`` and
    its source says that the user set it. A path is a machine file's own, except
    ``interference.BUSY.SLOWS``. The exception names a pair of resources and replaces or adds its
    factor.

    A rate or latency of the link also removes the measured curve of those copies. A rate or
    overhead of the GPU also removes the curves of experts within a call. Other curves stay, so a
    rate of a GPU or CPU changes only operations without a curve. Raises InputError for a path that
    does not exist or a value that does not fit.
    """
    for override in overrides:
        path, separator, text = override.partition("=")
        try:
            if not separator or not path or not text:
                raise InputError("write path=value, for example link.h2d.bytes_per_s=50e9")
            keys = path.split(".")
            data = (
                _with_factor(data, keys, text)
                if keys[0] == "interference"
                else _with_value(data, Machine, keys, text)
            )
            # A measured curve goes before a rate: without this, what was set would change nothing.
            data = _without_grouped_curves(_without_copy_curves(data, keys), keys)
        except InputError as error:
            raise InputError(" ".join(f"`overrides` {override}: {error}".split())) from None
    return data


def _with_value(
    node: Any, part: type, keys: list[str], text: str, parent: str = ""
) -> dict[str, Any]:
    """A copy of the part at ``parent`` with the value under ``keys`` replaced."""
    key, *rest = keys
    place = f"{parent}.{key}" if parent else key
    if not isinstance(node, dict):
        raise InputError(f"{parent or 'the machine'} is not a mapping in the file")
    if key not in fields_of(part):
        raise InputError(
            f"{parent or 'a machine'} has no key {key!r}{closest(key, fields_of(part))}"
        )
    annotation = fields_of(part)[key].annotation
    inner = nested_model(annotation)
    if inner is Curve:
        raise InputError("curves are set in a machine file, not with `overrides`")
    if get_origin(annotation) is dict:
        return {**node, key: _with_entry(node.get(key), rest, text, place)}
    # A quantity is set as one value: its source, kind and date follow from who set it.
    if inner is None or inner is Quantity:
        if rest:
            raise InputError(f"{place} is a single value; write {place}={text}")
        return {**node, key: _quantity(text, place) if inner else _plain(text, annotation, place)}
    if not rest:
        raise InputError(f"{place} is a group; its keys: {', '.join(fields_of(inner))}")
    if node.get(key) is None:
        raise InputError(f"this machine has no {place}; write that part into a machine file")
    return {**node, key: _with_value(node[key], inner, rest, text, place)}


def _with_entry(table: Any, keys: list[str], text: str, place: str) -> dict[str, Any]:
    """A copy of a table of quantities, such as the rates by compute type, with one of its entries
    replaced.
    """
    if not isinstance(table, dict):
        raise InputError(f"{place} is not a mapping in the file")
    if len(keys) != 1:
        raise InputError(f"{place} is a group; its keys: {', '.join(table)}")
    # No rate of a type that the machine lacks is added: it would be used by weights that are now
    # priced at another type, without a word.
    if keys[0] not in table:
        raise InputError(f"{place} has no key {keys[0]!r}{closest(keys[0], table)}")
    return {**table, keys[0]: _quantity(text, f"{place}.{keys[0]}")}


def _without_copy_curves(data: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The data without the curves of copies whose price was just set."""
    if keys[0] != "link" or len(keys) != 3 or not data.get("curves"):
        return data
    way, number = keys[1:]
    pageable = f"{way}_pageable"
    of_number = {
        "bytes_per_s": {way},
        "pageable_bytes_per_s": {pageable},
        "latency_ns": {way, pageable},
    }
    replaced = of_number.get(number, set())
    kept = [
        curve
        for curve in data["curves"]
        if curve["operation"] != Operation.COPY or curve["device"] not in replaced
    ]
    return {**data, "curves": kept}


def _without_grouped_curves(data: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The data without the curves of experts within a call, if ``keys`` set a number of the GPU
    that these curves depend on.
    """
    # Shipped files have such curves: on them a faster card would else compute no faster.
    is_of_kernels = keys[0] == "gpu" and keys[1:2] and keys[1] not in ("memory_bytes", "count")
    if not is_of_kernels or not data.get("curves"):
        return data
    kept = [curve for curve in data["curves"] if curve["operation"] != Operation.EXPERT_IN_GROUP]
    return {**data, "curves": kept}


def _with_factor(data: dict[str, Any], keys: list[str], text: str) -> dict[str, Any]:
    """A copy with the factor of one pair of resources replaced or added."""
    resources = get_args(ResourceName)
    if len(keys) != 3:
        raise InputError(
            f"write interference.BUSY.SLOWS=FRACTION, for example interference.cpu.h2d=0.8; resources: {', '.join(resources)}"
        )
    _, busy, slows = keys
    for name in (busy, slows):
        if name not in resources:
            raise InputError(f"no resource named {name!r}{closest(name, resources)}")
    # The factor of a pair stands once; the entry that was there is replaced.
    others = [
        entry
        for entry in data.get("interference") or ()
        if (entry.get("busy"), entry.get("slows")) != (busy, slows)
    ]
    factor = {"busy": busy, "slows": slows, "rate_fraction": _quantity(text, ".".join(keys))}
    return {**data, "interference": [*others, factor]}


def _quantity(text: str, place: str) -> dict[str, Any]:
    return {"value": _number(text, place), "kind": Kind.ASSUMED, "source": SOURCE, "date": UNDATED}


def _plain(text: str, annotation: Any, place: str) -> str | int:
    if annotation is not int:
        return text
    value = _number(text, place)
    if not value.is_integer():
        raise InputError(f"{place} must be a whole number, got {text}")
    return int(value)


def _number(text: str, place: str) -> float:
    try:
        value = parse_number(text)
    except ValueError as error:
        raise InputError(str(error)) from None
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{place} must be a finite number of at least 0, got {text}")
    return value
