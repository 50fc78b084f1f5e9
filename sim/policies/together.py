"""Parts of a policy that do not go together, in one table for simulated and real runs."""

from collections.abc import Callable

from hwprofiles import InputError
from sim.policies.policy import Policy

CLASHES: tuple[tuple[Callable[[Policy], bool], str], ...] = (
    (
        lambda policy: policy.overlap.in_turn and policy.cache.score is None,
        "running experts in turn needs a cache with a score, such as lru",
    ),
    (
        lambda policy: policy.prefetch.is_active and policy.cache.score is None,
        "prefetching needs a cache with a score, to say what makes room",
    ),
    (
        lambda policy: policy.cache.score is not None and not policy.overlap.staging_experts,
        "staging_experts must be at least 1 where a cache may have no slot to spare for what is fetched, got 0",
    ),
    (
        lambda policy: (
            policy.cache.score is not None
            and bool(policy.overlap.deferred or policy.dispatch.foretells)
        ),
        "experts that the CPU carries into another layer need residents that the clock does not change",
    ),
)
"""Conditions under which parts clash, each with its reason, in the order in which they are checked.
"""


def check_parts(policy: Policy) -> None:
    """Raise InputError, with the first reason, for parts that do not go together."""
    for clash, reason in CLASHES:
        if clash(policy):
            raise InputError(f"{policy.name}: {reason}")
