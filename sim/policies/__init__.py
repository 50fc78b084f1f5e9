"""Policies: five parts that combine freely, and the table of named systems made of them.

A part is configuration: frozen, its parameters are its fields. The base of each kind stands in the
folder of its kind. A run calls, in this order: ``placement.place`` once; ``cache.start`` once; then
for every layer of every forward pass, when its gate is known, ``classify`` of the cache, the rule
of the dispatch for the misses, ``admit`` of the cache for what is fetched. ``overlap`` says what may
run at once.
"""

from sim.policies.actions import Action, LayerMode
from sim.policies.cache.base import Cache
from sim.policies.cache.state import CacheState
from sim.policies.dispatch.base import Dispatch
from sim.policies.foresight import Foresight, Foretold, Predictions
from sim.policies.overlap import Overlap
from sim.policies.parts import PARTS, part_name
from sim.policies.placement.base import Placement
from sim.policies.policy import Policy, Tuning, parameter_names, settings_of, with_settings
from sim.policies.prefetch.base import Prefetch
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
