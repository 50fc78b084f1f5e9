"""A family of decoders: how the keys of its configuration become layers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family, as its modelling class builds it (transformers 5.23.0 unless the file says
    otherwise).

    ``decode`` reads the keys. ``required`` lists keys that real configurations state and without
    which weights would be guessed. ``idle`` lists keys that look as if they changed the weights,
    stand in real files of this family, and are not read by its class. ``aliases`` are other values
    of ``model_type`` for the same layers. ``architectures`` are modelling classes that stand for
    the family where ``model_type`` is missing or names no family. ``layers`` is the module that
    holds the layers. ``defaults`` are values of the modelling class, for a family whose published
    files leave out keys that equal them.
    """

    name: str
    decode: Callable[[ConfigKeys], Decoder]
    required: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    layers: str = "model.layers"
    defaults: Mapping[str, int] = field(default_factory=dict)
