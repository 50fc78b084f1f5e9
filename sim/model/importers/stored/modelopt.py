"""NVIDIA ModelOpt: one algorithm for all modules, or one for each in a mixed checkpoint."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.choosing import PackingRule, first_of, names_in, unless
from sim.model.importers.stored.compressed_tensors import grouped_storage
from sim.model.importers.stored.integers import group_of
from sim.model.importers.stored.module_names import ModuleNames
from sim.model.importers.stored.packing import (
    Packing,
    fp8_by_block,
    fp8_by_row,
    fp8_by_tensor,
    grouped_integers,
    mx,
    nvfp4,
)
from sim.model.importers.stored.storage import IN_LAYERS, Storage, nothing_packed
from sim.model.model import TensorClass

_CLASSES = IN_LAYERS | {TensorClass.HEAD}
_MIXED = "MIXED_PRECISION"

_FIXED: Mapping[str, Packing] = MappingProxyType(
    {
        "FP8": fp8_by_tensor(num_scales=2),
        "FP8_PER_CHANNEL_PER_TOKEN": fp8_by_row(),
        "FP8_PB_WO": fp8_by_block(128, 128),
        "FP8_PB_REAL": fp8_by_block(128, 128),
        "FP8_BLOCK_SCALES": fp8_by_block(128, 128),
        "MXFP8": mx("mxfp8", 8),
        "MXFP4": mx("mxfp4", 4),
        "W4A16_MXFP4": mx("mxfp4", 4),
        "W4A8_MXFP4_FP8": mx("mxfp4", 4),
        "INT8_SQ": grouped_integers(8, 0),
        "W8A8_SQ_PER_CHANNEL": grouped_integers(8, 0),
        "W8A16": grouped_integers(8, 0),
    }
)
_NVFP4 = frozenset({"NVFP4", "NVFP4_AWQ", "W4A16_NVFP4", "W4A8_NVFP4_FP8"})
_INT4 = frozenset({"INT4_AWQ", "W4A16_AWQ", "W4A8_AWQ", "W4A16"})
_GROUP = 128


def modelopt(keys: ConfigKeys, wide: Packing) -> Storage:
    """Return the storage by the keys of ``hf_quant_config.json`` (under ``quantization``) or of
    ``quantization_config``.
    """
    skipped = names_in(keys, "exclude_modules", "ignore")
    if not keys.has("quant_algo") and keys.has("config_groups"):
        return grouped_storage(keys, wide)
    if not keys.has("quant_algo"):
        # a checkpoint whose KV cache alone is quantised
        keys.value("kv_cache_quant_algo", "quant_algo")
        return Storage(name="16bit", wide=wide, choose=nothing_packed)
    if keys.text("quant_algo") == _MIXED:
        return _mixed(keys, wide, skipped)
    packing = _packing(keys)
    keys.has("config_groups")
    return Storage(name=packing.format, wide=wide, choose=unless(skipped, packing, _CLASSES))


def _packing(keys: ConfigKeys) -> Packing:
    name = keys.text("quant_algo").upper()
    if name in _FIXED:
        keys.has("group_size")
        return _FIXED[name]
    if name in _NVFP4:
        return nvfp4(keys.count("group_size") if keys.has("group_size") else 16)
    if name in _INT4:
        # AWQ keeps a 16-bit factor for each input
        has_factors = keys.flag_or(name.endswith("AWQ"), "pre_quant_scale")
        return grouped_integers(
            4,
            group_of(keys, _GROUP, "group_size"),
            zero_bits=4 if keys.flag_or(False, "has_zero_point") else 0,
            column_bits=16 if has_factors else 0,
        )
    names = {*_FIXED, *_NVFP4, *_INT4, _MIXED}
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3)
    hint = f"; near names: {', '.join(near)}" if near else ""
    raise keys.error("quant_algo", f"{shown(name)} is not understood{hint}")


def _mixed(keys: ConfigKeys, wide: Packing, skipped: ModuleNames) -> Storage:
    """Return the storage of a mixed checkpoint. ``quantized_layers`` names each packed module with
    its algorithm; the others are wide.
    """
    if not keys.has("quantized_layers"):
        return grouped_storage(keys, wide)
    # Newer files say the same twice: by groups, and by module.
    keys.has("config_groups")
    layers = keys.section("quantized_layers")
    names: dict[Packing, list[str]] = {}
    for name in layers.stated():
        # One rule a packing, not one a module: the list may name every expert of every layer.
        names.setdefault(_packing(layers.section(name)), []).append(name)
    rules = [
        PackingRule(modules=ModuleNames(layers, "*", modules), packing=packing)
        for packing, modules in names.items()
    ]
    formats = list(dict.fromkeys(packing.format for packing in names))
    return Storage(
        name=formats[0] if len(formats) == 1 else "mixed",
        wide=wide,
        choose=first_of(skipped, rules),
    )
