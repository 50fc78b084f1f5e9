"""Options that a command takes as one object."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

KEYWORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionGroup:
    """A group of options.

    Each field of a subclass is an option of every command that takes the group. A field is
    annotated like a command's parameter.
    """

    def refuse_without(self, option: str, names: str) -> None:
        """Raise InputError if an option of the group other than ``option`` differs from its
        default.

        A command calls this if ``option`` is not given. The others need what it ``names``.
        """
        from hwprofiles import InputError

        for field in fields(self):
            own = f"--{field.name.replace('_', '-')}"
            if own != option and getattr(self, field.name) != field.default:
                raise InputError(f"{own} needs {option}, which names {names}")


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with each group's parameter replaced by the options of the group."""
    given = inspect.signature(command, eval_str=True).parameters
    groups = {
        name: parameter.annotation
        for name, parameter in given.items()
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, OptionGroup)
    }

    def with_options(**values: Any) -> None:
        """Collect the values of each group, then run the command."""
        made = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**made, **values)

    # Keyword-only parameters may have defaults in any order; Signature refuses that of others.
    parameters = [
        each
        for name, parameter in given.items()
        for each in (
            _options(groups[name]) if name in groups else [parameter.replace(kind=KEYWORD)]
        )
    ]
    with_options.__name__ = command.__name__
    with_options.__doc__ = command.__doc__
    with_options.__annotations__ = {
        parameter.name: parameter.annotation for parameter in parameters
    }
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads the options off it
    return with_options


def _options(group: type[OptionGroup]) -> list[inspect.Parameter]:
    hints: Mapping[str, Any] = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            KEYWORD,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
