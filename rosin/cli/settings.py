"""The assignments of ``--set``: numbers of the machine, or parameters of policies.

The first word of a key tells the two apart.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hwprofiles import InputError, Machine, closest

if TYPE_CHECKING:
    from sim.policies import Policy


def split_settings(settings: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the assignments to the machine as typed, and all others by key.

    An assignment belongs to the machine if the first word of its key is a part of a machine. Raises
    InputError for an assignment without ``=``.
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
    """Return each policy with those parameters that it has.

    Raises InputError for a parameter that no policy has.
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
    """Return the names of a policy's parameters, each with its part (``part.name``) and without."""
    from sim.policies import parameter_names

    return {key for name in parameter_names(policy) for key in (name, name.partition(".")[2])}


def _unknown_key(key: str, policies: Sequence["Policy"], machine: Machine) -> InputError:
    """Return the error for a key that neither the machine nor a policy has.

    It names the nearest keys of both, or lists the policies' parameters.
    """
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
