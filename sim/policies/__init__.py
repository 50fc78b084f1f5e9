"""Policies: five parts that combine freely, and the table of named systems made of them.

A part is frozen configuration: its fields are its parameters. The base class of each kind stands in
the folder of that kind; ``Overlap`` is a single class.

A run calls ``placement.place`` once. A cache that decides by code of its own is then started
(``cache.start``). At every gate, in the order of passes and layers, its state says which experts
are resident (``classify``). The rule of the dispatch decides over the misses, and the state takes
in what is fetched (``admit``). Compiled code does the same for a cache with a ``score``.
``overlap`` says which lanes may be busy at once.
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
