"""Families of decoders, one file each: which keys of a configuration make which layers."""

from sim.model.importers.families.registry import FAMILIES, MODEL_TYPES, family_of

__all__ = ["FAMILIES", "MODEL_TYPES", "family_of"]
