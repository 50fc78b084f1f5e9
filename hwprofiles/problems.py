"""One line out of a pydantic error: the key's path, the value, and what would be right."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo

from hwprofiles.errors import MAX_SHOWN, InputError, closest, shortened

Read = TypeVar("Read", bound=BaseModel)

_BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_NO_MAPPING = ("model_type", "dataclass_type")
"""pydantic's types of error for a value that is no mapping. _UNKNOWN has those for a key that no
field has. Each has one type for models and one for dataclasses.
"""
_QUOTED = re.compile(r"'([^']+)'")


def validated(model: type[Read], data: Any, where: object = "") -> Read:
    """Return the data as that model. Raises InputError with the first problem; ``where`` names the
    origin of the data.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        before = f"{where}: " if where else ""
        raise InputError(f"{before}{first_problem(error, model)}") from None


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem as ``a.b.c: message, got value``; unknown keys come first, with the closest
    valid name.
    """
    # A misspelt key is often also a key that is missing; the misspelling is the cause.
    problem = min(error.errors(), key=lambda item: item["type"] not in _UNKNOWN)
    location = problem["loc"]
    value = problem["input"]
    path = ".".join(shortened(str(part)) for part in location) or "(top level)"
    if problem["type"] in _UNKNOWN:
        return f"unknown key {path}{closest(str(location[-1]), fields_of(model_at(model, location[:-1])))}"
    if problem["type"] == "missing":
        return f"key {path} is missing"
    # pydantic's own words name our classes, which users do not know.
    if problem["type"] in _NO_MAPPING:
        keys = ", ".join(
            name
            for name, field in fields_of(model_at(model, location)).items()
            if field.is_required()
        )
        return f"{path}: write a mapping with the keys {keys}, got {_shown(value)}"
    if problem["type"] == "too_short":
        return f"{path}: at least {problem['ctx']['min_length']} must be given, got {problem['ctx']['actual_length']}"
    # Our validators raise ValueError, which pydantic puts its own words before.
    message = _bound(problem) or problem["msg"].removeprefix("Value error, ")
    ending = "" if problem["type"] == "value_error" else f", got {_shown(value)}{_nearest(problem)}"
    return " ".join(f"{path}: {message[:1].lower()}{message[1:]}{ending}".split())


def _bound(problem: Any) -> str | None:
    """The limit that a number breaks, such as ``must be at least 1``; None for another problem."""
    words = _BOUNDS.get(problem["type"])
    if words is None:
        return None
    [limit] = problem["ctx"].values()
    return f"must be {words} {limit}"


def _nearest(problem: Any) -> str:
    """The hint with the closest allowed word, empty where none is near, as the message lists all
    words.
    """
    if problem["type"] not in ("literal_error", "enum") or not isinstance(problem["input"], str):
        return ""
    words = _QUOTED.findall(problem["ctx"]["expected"])
    near = get_close_matches(problem["input"][:MAX_SHOWN], words, n=1) if len(words) > 1 else []
    return f"; did you mean {near[0]!r}?" if near else ""


def model_at(model: type, path: tuple[Any, ...]) -> type:
    """The nested model that holds the keys at ``path``, through lists, tables and optional parts."""
    current = model
    for part in path:
        field = fields_of(current).get(part) if isinstance(part, str) else None
        # Places in lists and keys of tables are in the path too; they lead to no other model.
        current = (nested_model(field.annotation) if field else None) or current
    return current


def nested_model(annotation: Any) -> type | None:
    """The model, or dataclass, inside an annotation such as ``Disk | None`` or ``dict[str,
    Quantity]``; None when there is none.
    """
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or is_pydantic_dataclass(annotation)
    ):
        return annotation
    found = (nested_model(argument) for argument in getattr(annotation, "__args__", ()))
    return next((inner for inner in found if inner), None)


def fields_of(model: type) -> Mapping[str, FieldInfo]:
    """Return the fields of that model or dataclass, by the keys of its mapping."""
    found: Mapping[str, FieldInfo] = (
        model.model_fields if issubclass(model, BaseModel) else vars(model)["__pydantic_fields__"]
    )
    return found


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'}"
    if isinstance(value, str):
        value = value[: MAX_SHOWN + 1]  # or a long text would be copied to be cut
    return "nothing" if value is None else shortened(repr(value))
