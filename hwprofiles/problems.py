"""One line out of a pydantic error: the key's path, the value, and what would be right."""

from typing import Any

from pydantic import BaseModel, ValidationError

from hwprofiles.errors import closest


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem as ``a.b.c: message, got value``; unknown keys come with the closest valid name."""
    problem = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    path = ".".join(str(part) for part in problem["loc"]) or "(top level)"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {path}{closest(str(problem['loc'][-1]), _fields_at(model, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"key {path} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "" if isinstance(value, dict | list) or problem["type"] == "value_error" else f", got {value!r}"
    return f"{path}: {message[:1].lower()}{message[1:]}{shown}"


def _fields_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Field names of the nested model at ``path``; the top level's where the path leaves known models."""
    current: type[BaseModel] = model
    for part in path:
        field = current.model_fields.get(part) if isinstance(part, str) else None
        nested = [t for t in _types_in(field.annotation) if isinstance(t, type) and issubclass(t, BaseModel)] if field else []
        if nested:
            current = nested[0]
    return list(current.model_fields)


def _types_in(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", ())
    return [annotation] + [found for argument in inner for found in _types_in(argument)]
