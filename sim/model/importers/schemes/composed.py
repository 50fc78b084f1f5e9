"""Schemes that a rule makes of a name's parts: one storage type, or a mix with a prefix."""

import re

from sim.model.importers.schemes.assumed import ASSUMED, own_recipe
from sim.model.importers.schemes.llama_cpp import MIXES, output_rules
from sim.model.importers.schemes.scheme import Mix, MixRule, Scheme
from sim.model.importers.schemes.tensors import Role
from sim.model.storage_types import STORAGE_TYPES

_EXPERT_ROLES = (Role.GATE, Role.UP, Role.DOWN)
_SMOL = re.compile(r"smol-(?P<base>.+)", re.IGNORECASE)
_DYNAMIC = re.compile(r"ud-(?P<base>.+)", re.IGNORECASE)
_QUANTISED = re.compile(r"i?q\d_.+|tq\d_\d|mxfp4_r8")
_NOT_IN_FILES = frozenset({"q8_1", "q8_k", "q4_0_4_4", "q4_0_4_8", "q4_0_8_8"})
"""Types of activations, and ones that llama.cpp has dropped."""

_WIDE = frozenset({"F32", "F16", "BF16"})

_TYPES = {
    kind.name: kind
    for kind in STORAGE_TYPES.values()
    if _QUANTISED.fullmatch(kind.name) and kind.name not in _NOT_IN_FILES
}
_UD_PLAIN = (
    "Unsloth chooses types layer by layer; experts as in {base}, all else in q8_0, give"
    " Qwen3.6-35B-A3B's UD-Q4_K_M (llama.cpp issue 25859) within 2 %; others may be off by 20 %"
)


def composed_scheme(name: str) -> Scheme | None:
    """The scheme of such a name, whatever its capitals; None for another."""
    smol = _SMOL.fullmatch(name)
    if smol:
        return _smol(smol["base"].lower())
    dynamic = _DYNAMIC.fullmatch(name)
    if dynamic:
        return _dynamic(dynamic["base"].upper())
    type_name = name.lower()
    if type_name in _TYPES:
        return own_recipe(name.upper(), type_name, type_name)
    return None


def _smol(type_name: str) -> Scheme | None:
    """ubergarm's prefix: the down projection in the type of gate and up, not in a wider one."""
    if type_name not in _TYPES:
        return None
    wide = ASSUMED.get(type_name.upper())
    rest = "q8_0" if wide is None or wide.mix is None else wide.mix.default
    return own_recipe(f"smol-{type_name.upper()}", type_name, type_name, rest)


def _dynamic(base: str) -> Scheme | None:
    """Unsloth's prefix before the name of a plain mix."""
    if base not in MIXES or base in _WIDE:
        return None
    mix = MIXES[base]
    own = tuple(rule for rule in mix.rules if rule.role in _EXPERT_ROLES)
    plain = tuple(MixRule(role, mix.default) for role in _EXPERT_ROLES)
    outside = (*output_rules("q8_0"), MixRule(Role.TOKEN_EMBEDDING, "q8_0"))
    return Scheme(
        name=f"UD-{base}",
        # The mix's own rules first: the plain type is what is left.
        mix=Mix(default="q8_0", rules=outside, expert=(*mix.expert, *own, *plain)),
        approximation=_UD_PLAIN.format(base=base),
    )
