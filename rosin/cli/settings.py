"""What ``--set`` changes: numbers of the machine, or parameters of policies, told apart by their
first word.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hwprofiles import InputError, Machine, closest

if TYPE_CHECKING:
    from sim.policies import Policy


def split_settings(settings: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The settings whose first word is a part of a machine, as typed, and the others by key. Raises
    InputError without ``=``.
    """
    overrides = []
    parameters = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals and value):
            raise InputError(
                f"--set {setting}: write key=value, for example link.h2d.bytes_per_s=50e9 or believed_cost=code"
            )
        if key.partition(".")[0] in Machine.model_fields:
            overrides.append(setting)
        else:
            parameters[key] = value
    return overrides, parameters


def with_parameters(
    policies: Sequence["Policy"], parameters: Mapping[str, str], machine: Machine
) -> list["Policy"]:
    """Return each policy with those of the parameters that it has. Raises InputError for one that
    none of them has.
    """
    from sim.policies import with_settings

    for key in parameters:
        if not any(key in _keys(policy) for policy in policies):
            raise _unknown_key(key, policies, machine)
    return [
        with_settings(
            policy, {key: value for key, value in parameters.items() if key in _keys(policy)}
        )
        for policy in policies
    ]


def _keys(policy: "Policy") -> set[str]:
    """Parameters by their whole name and by their last word."""
    from sim.policies import parameter_names

    return {key for name in parameter_names(policy) for key in (name, name.partition(".")[2])}


def _unknown_key(key: str, policies: Sequence["Policy"], machine: Machine) -> InputError:
    """The error for a key of neither: with the nearest of both, or the parameters there are."""
    from rosin.commands.machines.numbers import machine_numbers

    parameters = set().union(*(_keys(policy) for policy in policies))
    near = closest(key, parameters | {number.path for number in machine_numbers(machine)})
    # Nothing is near. All numbers of a machine would make a long list, so only the parameters are
    # named.
    if not near.startswith("; did you mean"):
        near = closest(key, parameters)
    whose = f"policy {policies[0].name}" if len(policies) == 1 else "any of the policies"
    return InputError(
        f"--set {key}: neither the machine nor {whose} has it{near}; see rosin machines NAME, rosin policies NAME"
    )
