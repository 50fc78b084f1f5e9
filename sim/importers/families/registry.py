"""All families, by ``model_type``."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from hwprofiles import InputError
from sim.importers.config_keys import ConfigKeys, shown
from sim.importers.families.dbrx import DBRX
from sim.importers.families.deepseek import DEEPSEEK_V2, DEEPSEEK_V3, DEEPSEEK_V32, GLM4_MOE_LITE, GLM_MOE_DSA, KIMI_K2
from sim.importers.families.dots1 import DOTS1
from sim.importers.families.ernie4_5_moe import ERNIE4_5_MOE
from sim.importers.families.glm4_moe import GLM4_MOE
from sim.importers.families.gpt_oss import GPT_OSS
from sim.importers.families.granitemoe import GRANITEMOE
from sim.importers.families.granitemoehybrid import GRANITEMOEHYBRID
from sim.importers.families.hunyuan_v1_moe import HUNYUAN_V1_MOE
from sim.importers.families.jamba import JAMBA
from sim.importers.families.lfm2_moe import LFM2_MOE
from sim.importers.families.llama import LLAMA
from sim.importers.families.llama4 import LLAMA4
from sim.importers.families.mimo_v2_flash import MIMO_V2_FLASH
from sim.importers.families.minimax_m2 import MINIMAX_M2
from sim.importers.families.mixtral import MIXTRAL
from sim.importers.families.nemotron_h import NEMOTRON_H
from sim.importers.families.olmoe import OLMOE
from sim.importers.families.phimoe import PHIMOE
from sim.importers.families.qwen2 import QWEN2
from sim.importers.families.qwen2_moe import QWEN2_MOE
from sim.importers.families.qwen3 import QWEN3
from sim.importers.families.qwen3_moe import QWEN3_MOE
from sim.importers.families.qwen3_next import QWEN3_5_MOE, QWEN3_NEXT
from sim.importers.family import Family

_ALL = (
    QWEN3_5_MOE,
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
    DBRX,
    DEEPSEEK_V2,
    DEEPSEEK_V3,
    GLM4_MOE,
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


def _by_model_type() -> Mapping[str, Family]:
    found = dict(FAMILIES)
    for family in _ALL:
        found |= dict.fromkeys(family.aliases, family)
    return MappingProxyType(found)


MODEL_TYPES = _by_model_type()
"""Families by each ``model_type`` that is theirs."""


def _unknown(keys: ConfigKeys, model_type: str) -> InputError:
    near = difflib.get_close_matches(model_type.lower(), MODEL_TYPES, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else "; docs/reference/models.md lists them"
    return keys.error("model_type", f"names no model family, got {shown(model_type)}{hint}")


def family_of(keys: ConfigKeys) -> Family:
    """The configuration's family. Raises InputError for an unknown one, or for one of its required keys missing."""
    model_type = keys.text("model_type").removesuffix("_text")
    if model_type not in MODEL_TYPES:
        raise _unknown(keys, model_type)
    family = MODEL_TYPES[model_type]
    for name in family.required:
        keys.value(name)
    return family
