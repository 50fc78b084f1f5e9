"""The named systems, one row each."""

from collections.abc import Mapping

from hwprofiles import InputError, unknown_name
from sim.policies.caching_rows import CACHING_ROWS
from sim.policies.carrying_rows import CARRYING_ROWS
from sim.policies.imported import imported
from sim.policies.pipelined_rows import PIPELINED_ROWS
from sim.policies.policy import Policy
from sim.policies.static_rows import STATIC_ROWS

POLICIES: Mapping[str, Policy] = {
    policy.name: policy for policy in (*STATIC_ROWS, *CARRYING_ROWS, *PIPELINED_ROWS, *CACHING_ROWS)
}
"""The table, by name."""


def find_policy(name: str) -> Policy:
    """The row of that name, or a policy of your own as ``package.module:NAME``.

    Raises InputError, with the nearest name, for an unknown one.
    """
    # A name of the table has no colon.
    if ":" in name:
        found = imported(name, "policy")
        if not isinstance(found, Policy):
            raise InputError(
                f"policy {name}: of type {type(found).__name__}, not sim.policies.Policy"
            )
        return found
    if name not in POLICIES:
        raise unknown_name("policy", name, POLICIES)
    return POLICIES[name]
