"""Schemes of quantisation: a mix of types, settings of a checkpoint, or one format a class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sim.model.importers.schemes.tensors import Role
from sim.model.model import TensorClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The traits of a model that rules ask for.

    ``num_values`` counts the matrices of values; ``query_group`` query heads share one key head.
    ``is_seventy`` marks dense models of 80 layers of certain families. ``expert_type`` is the type
    that experts keep in every mix; None where the mix decides.
    """

    num_layers: int
    num_values: int
    num_experts: int
    query_group: float
    is_head_tied: bool
    is_seventy: bool
    expert_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The place of a tensor: its layer, and how many tensors of its role came before it in the
    file.
    """

    layer: int = 0
    before: int = 0


Condition = Callable[[Traits, Position], bool]


@dataclass(frozen=True, slots=True)
class MixRule:
    """Tensors of a role are stored in ``type_name`` where the condition of that name holds."""

    role: Role
    type_name: str
    condition: str = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A mix of llama.cpp's types: the first rule that holds for a tensor decides, else ``default``.

    ``expert`` are rules for routed experts alone, which come before the others. A row that does not
    divide into blocks of its type falls back to another type.
    """

    default: str
    rules: tuple[MixRule, ...] = ()
    expert: tuple[MixRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A scheme of one name. Exactly one of ``mix``, ``settings`` and ``classes`` is given.

    ``settings`` are those that a checkpoint's config.json would have under ``quantization_config``.
    ``approximation`` says how the scheme was approximated, and how far that may be off; it is empty
    for a scheme whose rule is known. ``dense`` replaces the scheme in a model without experts,
    where the scheme has rules of its own for experts.
    """

    name: str
    mix: Mix | None = None
    settings: Mapping[str, Any] | None = None
    classes: Mapping[TensorClass, str] = field(default_factory=lambda: MappingProxyType({}))
    approximation: str = ""
    dense: "Scheme | None" = None

    def of(self, *, is_dense: bool) -> "Scheme":
        """Return the scheme for a model with or without experts, under the same name."""
        return self if self.dense is None or not is_dense else self.dense
