"""A policy in words: its parts, and every parameter with its value and its allowed values."""

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rosin.commands.policies.listing import PolicyRow, ShownPart
from sim.policies import PARTS, Policy, parameter_names, part_name, settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a part.

    ``key`` is its key for ``--set``; None: only a plan file can change the parameter. ``values``
    describes the allowed values.
    """

    name: str
    value: Any
    values: str
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDetails:
    """One part of a policy: its name, what it does, and its parameters."""

    part: str
    description: str
    parameters: list[Parameter]


def policy_row(policy: Policy) -> PolicyRow[str]:
    """The row of one policy in the list."""
    parts = {kind: part_name(kind, getattr(policy, kind)) for kind in PARTS} | {
        "overlap": policy.overlap.manner
    }
    return _row(policy, parts)


def policy_details(policy: Policy) -> PolicyRow[PartDetails]:
    """Return a policy's row with the details of its parts and of how it feeds the prompt."""
    settable = set(parameter_names(policy))
    uses = Counter(name.partition(".")[2] for name in settable)
    parts = {}
    for kind, values in settings_of(policy).items():
        part = getattr(policy, kind)
        parts[kind] = PartDetails(
            part=part_name(kind, part) if kind in PARTS else kind,
            description=_description(type(part)),
            parameters=_parameters(type(part), values, kind, settable, uses),
        )
    return _row(policy, parts)


def _row(policy: Policy, parts: dict[str, ShownPart]) -> PolicyRow[ShownPart]:
    return PolicyRow(
        name=policy.name,
        summary=policy.summary,
        source=policy.source,
        is_lossless=policy.is_lossless,
        parts=parts,
    )


def _parameters(
    cls: type,
    values: Mapping[str, Any],
    kind: str,
    settable: set[str],
    uses: Counter[str],
    inside: str = "",
) -> list[Parameter]:
    """Return the parameters of a part; a parameter of a nested group has a dotted name."""
    found: list[Parameter] = []
    hints = get_type_hints(cls)
    for name, value in values.items():
        if isinstance(value, dict):
            found += _parameters(hints[name], value, kind, settable, uses, f"{inside}{name}.")
            continue
        is_settable = f"{kind}.{inside}{name}" in settable
        # A name that several parts have must be said together with its part.
        key = (name if uses[name] == 1 else f"{kind}.{name}") if is_settable else None
        found.append(
            Parameter(name=f"{inside}{name}", value=value, values=_allowed(hints[name]), key=key)
        )
    return found


def _allowed(hint: Any) -> str:
    """Return the allowed values of a type, in words."""
    if get_origin(hint) is Literal:
        return " or ".join(str(value) for value in get_args(hint))
    arguments = get_args(hint)
    if NoneType in arguments:
        return " or ".join(
            [*(_allowed(argument) for argument in arguments if argument is not NoneType), "none"]
        )
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(
        hint, "a list"
    )


def _description(cls: type) -> str:
    """Return the docstring of a class as one text, without its line breaks."""
    paragraphs = (inspect.getdoc(cls) or "").replace("``", "").split("\n\n")
    return " ".join(" ".join(paragraph.split()) for paragraph in paragraphs)
