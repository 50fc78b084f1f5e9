"""Overrides from the command line: ``link.h2d.bytes_per_s=50e9`` on machine data."""

from collections.abc import Sequence
from typing import Any

from hwprofiles.errors import InputError, closest
from hwprofiles.units import parse_number

SOURCE = "set by the user"


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the data with each ``path=value`` set.

    What is set is the effective value: a quantity loses its efficiency, its kind becomes ``assumed`` and its source
    says that the user set it. Raises InputError for a path that does not exist or a value that is no number.
    """
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not path:
            raise InputError(f"--set {override}: write path=value, for example link.h2d.bytes_per_s=50e9")
        data = _set(data, path.split("."), text, override)
    return data


def _set(node: Any, path: list[str], text: str, override: str) -> Any:
    key, rest = path[0], path[1:]
    if not isinstance(node, dict) or key not in node:
        choices = node.keys() if isinstance(node, dict) else []
        raise InputError(f"--set {override}: no key {key!r} here{closest(key, choices)}")
    old = node[key]
    new = _set(old, rest, text, override) if rest else _replaced(old, text, override)
    return {**node, key: new}


def _replaced(old: Any, text: str, override: str) -> Any:
    if isinstance(old, str):
        return text
    try:
        value = parse_number(text)
    except ValueError as error:
        raise InputError(f"--set {override}: {error}") from None
    if isinstance(old, dict) and "value" in old:
        return {"value": value, "kind": "assumed", "source": SOURCE, "date": old.get("date", "1970")}
    if isinstance(old, dict) or isinstance(old, list):
        raise InputError(f"--set {override}: this is a group, not a number; its keys: {', '.join(old)}")
    return int(value) if isinstance(old, int) else value
