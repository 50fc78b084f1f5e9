"""Schemes whose names are made of another's: a mix with interleaved rows, and Unsloth's dynamic
files that have no entry of their own.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from sim.model.importers.schemes.llama_cpp import MIXES
from sim.model.importers.schemes.scheme import Mix, MixRule, Scheme
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
    "Unsloth chooses types layer by layer and model by model; taken for {base}, which may be off"
    " by 20 %"
)
_UNDER_OTHER_NAMES = MappingProxyType({"q8_k_xl": "Q8_0", "q6_k_xl": "Q6_K"})
"""Dynamic files of whole names: the mix with the type that holds most of them."""


def derived_scheme(name: str) -> Scheme | None:
    """The scheme of a name such as Q4_K_R4 or UD-Q4_K_M, whatever its capitals; None for another."""
    return _interleaved_scheme(name) or _dynamic_scheme(name)


def _interleaved_scheme(name: str) -> Scheme | None:
    """A mix repacked: ``NAME_R4`` where the mix's default type has rows interleaved by four."""
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


def _dynamic_scheme(name: str) -> Scheme | None:
    """A dynamic file without an entry of its own, taken for the mix of the same name."""
    prefix, _, stem = name.partition("-")
    if prefix.upper() != "UD" or not stem:
        return None
    base = _mix_name(stem) or _UNDER_OTHER_NAMES.get(stem.lower())
    if base is None:
        return None
    return Scheme(
        name=name.upper(),
        mix=MIXES[base],
        approximation=_DYNAMIC.format(base=base),
    )


def _mix_name(name: str) -> str | None:
    return _MIXES_BY_FOLDED_NAME.get(name.lower())
