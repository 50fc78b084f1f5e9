"""Policies: five parts that combine freely, and the table of named systems made of them."""

from sim.policies.actions import Action, LayerMode
from sim.policies.base import Cache, CacheState, Dispatch, Placement, Prefetch
from sim.policies.foresight import Foresight, Foretold, Predictions
from sim.policies.overlap import Overlap
from sim.policies.parts import PARTS, part_name
from sim.policies.policy import Policy, Tuning, parameter_names, settings_of, with_settings
from sim.policies.problem import Problem
from sim.policies.table import POLICIES, find_policy

__all__ = [
    "PARTS",
    "POLICIES",
    "Action",
    "Cache",
    "CacheState",
    "Dispatch",
    "Foresight",
    "Foretold",
    "LayerMode",
    "Overlap",
    "Placement",
    "Policy",
    "Predictions",
    "Prefetch",
    "Problem",
    "Tuning",
    "find_policy",
    "parameter_names",
    "part_name",
    "settings_of",
    "with_settings",
]
