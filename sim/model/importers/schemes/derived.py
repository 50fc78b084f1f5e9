"""Schemes whose names derive from another scheme or a storage type: interleaved rows, and prefixes
that publishers of files use.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from sim.model.importers.schemes.assumed import ASSUMED, dense_dynamic, own_recipe
from sim.model.importers.schemes.llama_cpp import MIXES, output_rules
from sim.model.importers.schemes.scheme import Mix, MixRule, Scheme
from sim.model.importers.schemes.tensors import Role
from sim.model.storage_types import STORAGE_TYPES

_MIXES_BY_FOLDED_NAME = MappingProxyType({name.lower(): name for name in MIXES})
_INTERLEAVED_NAME = re.compile(r"(.+)_(r4|r8|r16)", re.IGNORECASE)
_MATCHES = tuple(_INTERLEAVED_NAME.fullmatch(kind.name) for kind in STORAGE_TYPES.values())
_INTERLEAVED: Mapping[str, str] = MappingProxyType(
    {match.group(1): match.group(0) for match in _MATCHES if match is not None}
)
"""Types of ik_llama.cpp whose rows are interleaved, by the plain type."""

_REPACKED = (
    "{base} with the rows of its types interleaved, as ik_llama.cpp's llama-quantize --repack"
    " writes it; a file quantised anew has other types in a few tensors"
)
_DYNAMIC = (
    "Unsloth chooses types layer by layer; experts as in {base}, all else in q8_0, give"
    " Qwen3.6-35B-A3B's UD-Q4_K_M (llama.cpp issue 25859) within 2 %; others may be off by 20 %"
)
_WIDE_MIXES = frozenset({"F32", "F16", "BF16"})
_EXPERT_ROLES = (Role.GATE, Role.UP, Role.DOWN)
_SMOL_NAME = re.compile(r"smol-(.+)", re.IGNORECASE)
_QUANTISED = re.compile(r"i?q\d_.+|tq\d_\d|mxfp4_r8")
_NOT_IN_FILES = frozenset({"q8_1", "q8_k", "q4_0_4_4", "q4_0_4_8", "q4_0_8_8"})
"""Types that no file has: those of activations, and those that llama.cpp has dropped."""
_TYPES = frozenset(
    kind.name
    for kind in STORAGE_TYPES.values()
    if _QUANTISED.fullmatch(kind.name) and kind.name not in _NOT_IN_FILES
)


def derived_scheme(name: str) -> Scheme | None:
    """The scheme of a name such as Q4_K_R4, UD-Q4_K_M, smol-IQ2_KS or IQ6_K, whatever its capitals;
    None for any other name.
    """
    makers = (_interleaved_scheme, _smol_scheme, _dynamic_scheme, _type_scheme)
    return next(filter(None, (make(name) for make in makers)), None)


def _interleaved_scheme(name: str) -> Scheme | None:
    """The scheme of a repacked mix: ``NAME_R4`` where the mix's default type has rows interleaved
    by four.
    """
    match = _INTERLEAVED_NAME.fullmatch(name)
    if match is None:
        return None
    stem = match.group(1)
    # Q4_K_R4 is one name for what Q4_K_S and Q4_K_M repack to; its own rules are those of S.
    base = _mix_name(stem) or _mix_name(f"{stem}_S")
    if base is None:
        return None
    mix = MIXES[base]
    width = match.group(2).lower()
    if not _INTERLEAVED.get(mix.default, "").endswith(f"_{width}"):
        return None
    return Scheme(
        name=name.upper(),
        mix=_interleaved(mix),
        approximation=_REPACKED.format(base=base),
    )


def _interleaved(mix: Mix) -> Mix:
    return replace(
        mix,
        default=_INTERLEAVED[mix.default],
        rules=_interleaved_rules(mix.rules),
        expert=_interleaved_rules(mix.expert),
    )


def _interleaved_rules(rules: tuple[MixRule, ...]) -> tuple[MixRule, ...]:
    # Types that no kernel reads interleaved stay as they are.
    return tuple(
        replace(rule, type_name=_INTERLEAVED.get(rule.type_name, rule.type_name)) for rule in rules
    )


def _smol_scheme(name: str) -> Scheme | None:
    """The scheme of a name with ubergarm's prefix: the down projection has the type of gate and up,
    not a wider one.
    """
    match = _SMOL_NAME.fullmatch(name)
    if match is None or match.group(1).lower() not in _TYPES:
        return None
    type_name = match.group(1).lower()
    wide = ASSUMED.get(type_name.upper())
    rest = "q8_0" if wide is None or wide.mix is None else wide.mix.default
    return own_recipe(f"smol-{type_name.upper()}", type_name, type_name, rest)


def _dynamic_scheme(name: str) -> Scheme | None:
    """The scheme of a dynamic file without an entry of its own: experts as in the mix of its name,
    all else in q8_0.
    """
    prefix, _, stem = name.partition("-")
    base = _mix_name(stem)
    if prefix.upper() != "UD" or base is None or base in _WIDE_MIXES:
        return None
    mix = MIXES[base]
    own = tuple(rule for rule in mix.rules if rule.role in _EXPERT_ROLES)
    plain = tuple(MixRule(role, mix.default) for role in _EXPERT_ROLES)
    outside = (*output_rules("q8_0"), MixRule(Role.TOKEN_EMBEDDING, "q8_0"))
    return Scheme(
        name=f"UD-{base}",
        # The mix's own rules first: the plain type is what is left.
        mix=Mix(default="q8_0", rules=outside, expert=(*mix.expert, *own, *plain)),
        approximation=_DYNAMIC.format(base=base),
        dense=dense_dynamic(f"UD-{base}"),
    )


def _type_scheme(name: str) -> Scheme | None:
    """The scheme of a storage type that names no mix: all experts are in that type."""
    type_name = name.lower()
    return own_recipe(name.upper(), type_name, type_name) if type_name in _TYPES else None


def _mix_name(name: str) -> str | None:
    return _MIXES_BY_FOLDED_NAME.get(name.lower())
