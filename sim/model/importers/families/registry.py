"""All families, by ``model_type``."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from hwprofiles import InputError
from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.families.bailing_hybrid import BAILING_HYBRID, BAILING_MOE_LINEAR
from sim.model.importers.families.bailing_moe import BAILING_MOE
from sim.model.importers.families.dbrx import DBRX
from sim.model.importers.families.deepseek import (
    DEEPSEEK_V2,
    DEEPSEEK_V3,
    DEEPSEEK_V32,
    GLM4_MOE_LITE,
    GLM_MOE_DSA,
    KIMI_K2,
)
from sim.model.importers.families.deepseek_v4 import DEEPSEEK_V4
from sim.model.importers.families.dots1 import DOTS1, HY_V3
from sim.model.importers.families.ernie4_5_moe import ERNIE4_5_MOE
from sim.model.importers.families.gemma3 import GEMMA3
from sim.model.importers.families.gemma4 import GEMMA4
from sim.model.importers.families.glm4_moe import GLM4_MOE, SOLAR_OPEN
from sim.model.importers.families.gpt_oss import GPT_OSS
from sim.model.importers.families.granitemoe import GRANITEMOE
from sim.model.importers.families.granitemoehybrid import GRANITEMOEHYBRID
from sim.model.importers.families.grok import GROK
from sim.model.importers.families.hunyuan_v1_moe import HUNYUAN_V1_MOE
from sim.model.importers.families.jamba import JAMBA
from sim.model.importers.families.kimi_linear import KIMI_LINEAR
from sim.model.importers.families.lfm2_moe import LFM2_MOE
from sim.model.importers.families.llama import LLAMA
from sim.model.importers.families.llama4 import LLAMA4
from sim.model.importers.families.mimo_v2_flash import MIMO_V2_FLASH
from sim.model.importers.families.minimax_m2 import MINIMAX_M2
from sim.model.importers.families.minimax_m3 import MINIMAX_M3
from sim.model.importers.families.mixtral import MIXTRAL
from sim.model.importers.families.nemotron_h import NEMOTRON_H
from sim.model.importers.families.olmoe import OLMOE
from sim.model.importers.families.phimoe import PHIMOE
from sim.model.importers.families.qwen2 import QWEN2
from sim.model.importers.families.qwen2_moe import QWEN2_MOE
from sim.model.importers.families.qwen3 import QWEN3
from sim.model.importers.families.qwen3_moe import QWEN3_MOE
from sim.model.importers.families.qwen3_next import QWEN3_5, QWEN3_5_MOE, QWEN3_NEXT
from sim.model.importers.families.step3p5 import STEP3P5
from sim.model.importers.family import Family
from sim.model.importers.unused_keys import refuse_unused

_ALL = (
    BAILING_MOE,
    BAILING_MOE_LINEAR,
    BAILING_HYBRID,
    GROK,
    KIMI_LINEAR,
    DEEPSEEK_V4,
    STEP3P5,
    MINIMAX_M3,
    GEMMA3,
    GEMMA4,
    QWEN3_5_MOE,
    QWEN3_5,
    GLM_MOE_DSA,
    GLM4_MOE_LITE,
    DEEPSEEK_V32,
    QWEN3,
    NEMOTRON_H,
    MINIMAX_M2,
    MIMO_V2_FLASH,
    LFM2_MOE,
    JAMBA,
    HUNYUAN_V1_MOE,
    GRANITEMOEHYBRID,
    ERNIE4_5_MOE,
    DOTS1,
    HY_V3,
    DBRX,
    DEEPSEEK_V2,
    DEEPSEEK_V3,
    GLM4_MOE,
    SOLAR_OPEN,
    GPT_OSS,
    GRANITEMOE,
    KIMI_K2,
    LLAMA,
    LLAMA4,
    MIXTRAL,
    OLMOE,
    PHIMOE,
    QWEN2,
    QWEN2_MOE,
    QWEN3_MOE,
    QWEN3_NEXT,
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _ALL})
"""Families by name."""


CONTEXT_KEYS = ("max_position_embeddings", "model_max_length")
"""Names of the key for the longest context; Kimi-Linear has the second name."""

_ALIKE = 0.75
"""The least similarity (difflib's ratio) at which a name is taken for a misspelling of a
known one.
"""

_HINT_CHARACTERS = 180
"""The most characters of a hint, so that an error stays one line that can be read."""


def _by_model_type() -> Mapping[str, Family]:
    found = dict(FAMILIES)
    for family in _ALL:
        found |= dict.fromkeys(family.aliases, family)
    return MappingProxyType(found)


MODEL_TYPES = _by_model_type()
"""Families by every ``model_type`` that names them, aliases included."""

_BY_ARCHITECTURE = MappingProxyType(
    {name: family for family in _ALL for name in family.architectures}
)


def _unknown(keys: ConfigKeys, model_type: str) -> InputError:
    return keys.error(
        "model_type", f"names no model family, got {shown(model_type)}{_hint(keys, model_type)}"
    )


def _hint(keys: ConfigKeys, model_type: str) -> str:
    """Return the hint for an unknown family.

    The hint names a family whose name is near, else one that all keys fit, else the page that lists
    all families.
    """
    # The name decides between equals, so that the hint does not depend on the order of families.
    nearest = max(MODEL_TYPES, key=lambda name: (_likeness(name, model_type), name))
    misfits = {family.name: _misfit(keys, family) for family in _ALL}
    if _likeness(nearest, model_type) >= _ALIKE:
        name = MODEL_TYPES[nearest].name
        fit = misfits[name] or f"its keys fit {name}: try `family` {name}"
        return f"; did you mean {nearest!r}? As that: {fit}"[:_HINT_CHARACTERS]
    fitting = [name for name, problem in misfits.items() if problem is None]
    if fitting:
        best = max(fitting, key=lambda name: (_likeness(name, model_type), name))
        return f"; its keys fit {best}: try `family` {best}"
    return "; docs/reference/models.md lists them"


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()


def _misfit(keys: ConfigKeys, family: Family) -> str | None:
    """Return why the configuration cannot be read as that family; None where it can."""
    # Tried as a whole: a family fits only if nothing is missing and nothing is left unread.
    tried = ConfigKeys({**keys.stated(), "model_type": family.name}, "")
    try:
        for name in family.required:
            tried.value(name)
        family.decode(tried)
        tried.count(*CONTEXT_KEYS)
        refuse_unused(tried, family)
    except InputError as problem:
        return str(problem).removeprefix(": ")
    return None


def family_of(keys: ConfigKeys) -> Family:
    """Return the configuration's family, and fill in the family's defaults.

    Raises InputError for an unknown family, or for one of its required keys missing.
    """
    by_architecture = _by_architecture(keys)
    if by_architecture is not None and not keys.has("model_type"):
        family = by_architecture
    else:
        # Multimodal models name their text part so; its layers are the family's own.
        model_type = keys.text("model_type").removesuffix("_text")
        found = MODEL_TYPES.get(model_type, by_architecture)
        if found is None:
            raise _unknown(keys, model_type)
        family = found
    keys.fill(family.defaults)
    for name in family.required:
        keys.value(name)
    return family


def _by_architecture(keys: ConfigKeys) -> Family | None:
    """The family of the modelling class that the configuration names; None where the class stands
    for none.
    """
    stated = keys.stated().get("architectures")
    names = stated if isinstance(stated, list) else []
    return next((_BY_ARCHITECTURE[name] for name in names if name in _BY_ARCHITECTURE), None)
