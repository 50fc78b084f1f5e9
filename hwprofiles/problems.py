"""One line out of a pydantic error: the key's path, the value, and what would be right."""

from typing import Any

from pydantic import BaseModel, ValidationError

from hwprofiles.errors import closest

_SHOWN_CHARACTERS = 60


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem as ``a.b.c: message, got value``; unknown keys come first, with the closest valid name."""
    problem = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    location, value = problem["loc"], problem["input"]
    path = ".".join(str(part) for part in location) or "(top level)"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {path}{closest(str(location[-1]), model_at(model, location[:-1]).model_fields)}"
    if problem["type"] == "missing":
        return f"key {path} is missing"
    if problem["type"] == "model_type":
        keys = ", ".join(name for name, field in model_at(model, location).model_fields.items() if field.is_required())
        return f"{path}: write a mapping with the keys {keys}, got {_shown(value)}"
    if problem["type"] == "too_short":
        return f"{path}: at least {problem['ctx']['min_length']} must be given, got {problem['ctx']['actual_length']}"
    message = problem["msg"].removeprefix("Value error, ")
    ending = "" if problem["type"] == "value_error" else f", got {_shown(value)}"
    return " ".join(f"{path}: {message[:1].lower()}{message[1:]}{ending}".split())


def model_at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel]:
    """The nested model that holds the keys at ``path``, through lists, tables and optional parts."""
    current = model
    for part in path:
        field = current.model_fields.get(part) if isinstance(part, str) else None
        current = (nested_model(field.annotation) if field else None) or current
    return current


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as ``Disk | None`` or ``dict[str, Quantity]``; None when there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (nested_model(argument) for argument in getattr(annotation, "__args__", ()))
    return next((inner for inner in found if inner), None)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'}"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
