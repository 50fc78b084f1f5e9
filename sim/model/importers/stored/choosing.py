"""Rules that say which modules are packed, and how: lists of modules left out, and overrides by
name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.stored.module_names import ModuleNames
from sim.model.importers.stored.packing import Packing
from sim.model.importers.stored.storage import IN_LAYERS, Chooser
from sim.model.importers.weights import Weight
from sim.model.model import TensorClass


@dataclass(frozen=True, slots=True, kw_only=True)
class PackingRule:
    """The modules of a list, and their packing; None leaves the modules wide."""

    modules: ModuleNames
    packing: Packing | None


def names_in(keys: ConfigKeys, *aliases: str) -> ModuleNames:
    """Return the modules that the first of those keys that is stated lists; none where no key is
    stated.
    """
    for key in aliases:
        if keys.has(key):
            return ModuleNames(keys, key, keys.items(key))
    return ModuleNames(keys, aliases[0], ())


def unless(
    skipped: ModuleNames,
    packing: Packing | None,
    classes: frozenset[TensorClass] = IN_LAYERS,
    overrides: Sequence[PackingRule] = (),
) -> Chooser:
    """Return the chooser that packs the linear layers of ``classes``, except the modules in
    ``skipped``.

    For a module that an override names, the first such override decides.
    """

    def _choose(weight: Weight, module: str) -> Packing | None:
        # Left out goes before everything: settings name a kind of layer and then its exceptions.
        if skipped.has(module):
            return None
        for rule in overrides:
            if rule.modules.has(module):
                return rule.packing
        return packing if weight.tensor_class in classes else None

    return _choose


def first_of(skipped: ModuleNames, rules: Sequence[PackingRule]) -> Chooser:
    """Return the chooser that takes the first rule that names a module. Modules without a rule, and
    those in ``skipped``, stay wide.
    """
    return unless(skipped, None, overrides=rules)
