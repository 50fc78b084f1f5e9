"""A policy as plain data, and back: what a plan file stores."""

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from hwprofiles import InputError, closest
from hwprofiles.errors import shortened
from sim.policies.cache.base import Cache
from sim.policies.dispatch.base import Dispatch
from sim.policies.imported import imported
from sim.policies.overlap import Overlap
from sim.policies.parts import PARTS, part_name
from sim.policies.placement.base import Placement
from sim.policies.policy import Policy
from sim.policies.prefetch.base import Prefetch
from sim.workload.batch import Feeding

MAX_NUMBER = 2**53
"""The largest number of a parameter: larger whole numbers are not exact as floats."""
KINDS: Mapping[str, type] = {
    "placement": Placement,
    "cache": Cache,
    "prefetch": Prefetch,
    "dispatch": Dispatch,
    "overlap": Overlap,
}
"""The base class of the parts of each kind."""


def policy_to_data(policy: Policy) -> dict[str, Any]:
    """Return the name, the description, the parts, each with its name and every parameter, and the
    feeding.
    """
    data: dict[str, Any] = {
        "name": policy.name,
        "summary": policy.summary,
        "source": policy.source,
        "is_lossless": policy.is_lossless,
    }
    for kind in PARTS:
        part = getattr(policy, kind)
        data[kind] = {"part": part_name(kind, part), **_plain(part)}
    data["feeding"] = _plain(policy.feeding)
    return data


class ImportNotAllowed(InputError):
    """A file names code of ``module``, which nobody allowed it to import."""

    def __init__(self, where: str, part: str, module: str) -> None:
        """``where`` is the key, and ``part`` is its value, which names code of ``module``."""
        super().__init__(
            f"{where}: {shortened(repr(part))} is code of the module {shortened(module)}, which this file may not import"
        )
        self.module = module


def policy_from_data(
    data: Mapping[str, Any], where: str, *, importable: Collection[str] = ()
) -> Policy:
    """Return the policy that ``policy_to_data`` wrote. Raises InputError naming the key; ``where``
    names the file.

    Parts that are not Rosin's are imported from the modules in ``importable``. For a part of any
    other module it raises ImportNotAllowed.
    """
    known = {field.name for field in fields(Policy)}
    for key in data:
        if key not in known:
            raise InputError(f"{where}: unknown key {key}{closest(key, known)}")
    for key in ("name", *PARTS):
        if key not in data:
            raise InputError(f"{where}: key {key} is missing")
    parts: dict[str, Any] = {
        kind: _part(kind, data[kind], f"{where}.{kind}", importable) for kind in PARTS
    }
    parts["feeding"] = _built(Feeding, data.get("feeding", {}), f"{where}.feeding")
    return Policy(
        name=str(data["name"]),
        summary=str(data.get("summary", "")),
        source=str(data.get("source", "")),
        is_lossless=bool(data.get("is_lossless", True)),
        **parts,
    )


def _plain(part: Any) -> dict[str, Any]:
    values = {}
    for field in fields(part):
        value = getattr(part, field.name)
        values[field.name] = _plain(value) if is_dataclass(value) else _listed(value)
    return values


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _part(kind: str, data: Any, where: str, importable: Collection[str]) -> Any:
    if not isinstance(data, Mapping):
        raise InputError(
            f"{where}: a mapping with the key part expected, got {shortened(repr(data))}"
        )
    name = str(data.get("part"))
    if ":" in name:
        module = name.partition(":")[0]
        if module not in importable:
            raise ImportNotAllowed(f"{where}.part", name, module)
        found = imported(name, f"{where}.part:")
        if not (isinstance(found, type) and issubclass(found, KINDS[kind]) and is_dataclass(found)):
            raise InputError(f"{where}.part: {name} is not a {kind} part")
        cls: type = found
    elif name in PARTS[kind]:
        cls = PARTS[kind][name]
    else:
        raise InputError(
            f"{where}.part: no {kind} part named {shortened(repr(name))}{closest(name, PARTS[kind])}"
        )
    return _built(cls, {key: value for key, value in data.items() if key != "part"}, where)


def _built(cls: type, data: Any, where: str) -> Any:
    """Return the dataclass made of its fields, nested ones included.

    Raises InputError for an unknown key, a value of the wrong type, and a number beyond MAX_NUMBER.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: a mapping expected, got {shortened(repr(data))}")
    names = [field.name for field in fields(cls)]
    for key, value in data.items():
        if key not in names:
            raise InputError(
                f"{where}: unknown key {shortened(str(key))}{closest(str(key), names)}"
            )
        if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
            raise InputError(
                f"{where}.{key}: must be a finite number of at most {MAX_NUMBER:g}, got {shortened(repr(value))}"
            )
    hints = get_type_hints(cls)
    # Nested parts first, so that a fault in one is named with its whole path.
    nested = {
        key: _built(hints[key], value, f"{where}.{key}")
        for key, value in data.items()
        if is_dataclass(hints[key])
    }
    try:
        return TypeAdapter(cls).validate_python({**data, **nested})
    except ValidationError as error:
        problem = error.errors()[0]
        path = ".".join([where, *(str(step) for step in problem["loc"])])
        raise InputError(
            f"{path}: {problem['msg'].lower()}, got {shortened(repr(problem['input']))}"
        ) from None
