"""A conformance kit for policies: checks that every run must pass.

``check_policy`` checks a third party's policy, too.
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
