"""The named systems, one row each."""

import importlib
from collections.abc import Mapping

from hwprofiles import InputError, closest, unknown_name
from sim.policies.caching_rows import CACHING_ROWS
from sim.policies.policy import Policy
from sim.policies.static_rows import STATIC_ROWS

POLICIES: Mapping[str, Policy] = {policy.name: policy for policy in (*STATIC_ROWS, *CACHING_ROWS)}
"""The table, by name."""


def find_policy(name: str) -> Policy:
    """The row of that name, or a policy of your own as ``package.module:NAME``.

    Raises InputError, with the nearest name, for an unknown one.
    """
    if ":" in name:
        return _imported(name)
    if name not in POLICIES:
        raise unknown_name("policy", name, POLICIES)
    return POLICIES[name]


def _imported(path: str) -> Policy:
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the module raises, the user's code is at fault
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"policy {path}: cannot import {module_name!r}: {reason}") from None
    found = getattr(module, attribute, None)
    if isinstance(found, Policy):
        return found
    named = [name for name, value in vars(module).items() if isinstance(value, Policy)]
    problem = f"has no {attribute!r}" if found is None else f"{attribute} is of type {type(found).__name__}, not a sim.policies.Policy"
    raise InputError(f"policy {path}: module {module_name} {problem}{closest(attribute, named)}")
