"""A conformance kit for policies: what every run keeps to.

A third party's policy passes through ``check_policy`` too.
"""

from sim.testing.policies import check_infeasible, check_memory, check_policy, memory_rule
from sim.testing.timelines import check_copies, check_timeline

__all__ = [
    "check_copies",
    "check_infeasible",
    "check_memory",
    "check_policy",
    "check_timeline",
    "memory_rule",
]
