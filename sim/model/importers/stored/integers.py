"""Integers in groups: AWQ, GPTQ, AutoRound, EETQ, HQQ, and MLX's affine formats."""

from collections.abc import Mapping
from typing import Any

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.choosing import PackingRule, names_in, unless
from sim.model.importers.stored.module_names import ModuleNames
from sim.model.importers.stored.packing import Packing, grouped_integers, mx, nvfp4
from sim.model.importers.stored.storage import IN_LAYERS, Storage
from sim.model.model import TensorClass

_MAX_BITS = 8
_WIDE_BITS = 16
_INDEX_BITS = 32
_EVERYTHING = IN_LAYERS | {TensorClass.EMBEDDING, TensorClass.HEAD, TensorClass.ROUTER}
_GROUP_SIZES = ("group_size", "q_group_size")


def bits_of(keys: ConfigKeys, *names: str) -> int:
    """Bits of a weight, 1 to 8. Raises InputError for anything else."""
    bits = keys.count(*names)
    if bits > _MAX_BITS:
        raise keys.error(names[0], f"must be from 1 to {_MAX_BITS}, got {bits}")
    return bits


def group_of(keys: ConfigKeys, default: int | None, *names: str) -> int:
    """The number of weights of a row that share a scale; 0 stands for the whole row, as 0 and −1 do
    in files.
    """
    if default is not None and not keys.has(*names):
        return default
    value = keys.value(*names)
    # Tools write either for a scale of the whole row.
    return 0 if value in (0, -1) and not isinstance(value, bool) else keys.count(*names)


def awq(keys: ConfigKeys, wide: Packing) -> Storage:
    """AutoAWQ: packed weights, 16-bit scales, packed zero points."""
    bits = bits_of(keys, "bits", "w_bit")
    group = group_of(keys, None, *_GROUP_SIZES)
    zero_bits = bits if keys.flag_or(True, "zero_point") else 0
    packing = grouped_integers(bits, group, zero_bits=zero_bits)
    skipped = names_in(keys, "modules_to_not_convert")
    return Storage(name=packing.format, wide=wide, choose=unless(skipped, packing))


def gptq(keys: ConfigKeys, wide: Packing) -> Storage:
    """AutoGPTQ and GPTQModel: zero points are always stored, and a group number for each input."""
    bits = bits_of(keys, "bits")
    group = group_of(keys, None, "group_size")
    packing = _gptq_packing(bits, group)
    is_head_packed = keys.flag_or(False, "lm_head")
    classes = IN_LAYERS | {TensorClass.HEAD} if is_head_packed else IN_LAYERS
    overrides = _dynamic(keys, bits, group) if keys.has("dynamic") else []
    skipped = names_in(keys, "modules_to_not_convert")
    return Storage(
        name=packing.format, wide=wide, choose=unless(skipped, packing, classes, overrides)
    )


def _gptq_packing(bits: int, group: int) -> Packing:
    return grouped_integers(bits, group, zero_bits=bits, column_bits=_INDEX_BITS)


def _dynamic(keys: ConfigKeys, bits: int, group: int) -> list[PackingRule]:
    """Return GPTQModel's rules by regular expression.

    ``-:`` leaves modules out; ``+:``, or no sign, changes their packing.
    """
    section = keys.section("dynamic")
    rules = []
    for name in section.stated():
        pattern = name.removeprefix("-:").removeprefix("+:")
        modules = ModuleNames(section, name, [f"re:{pattern}"])
        # What a rule of that sign names is left out of the packing.
        if name.startswith("-:"):
            rules.append(PackingRule(modules=modules, packing=None))
            continue
        own = section.section(name)
        changed = bits_of(own, "bits") if own.has("bits") else bits
        rules.append(
            PackingRule(
                modules=modules,
                packing=_gptq_packing(changed, group_of(own, group, "group_size")),
            )
        )
    return rules


def auto_round(keys: ConfigKeys, wide: Packing) -> Storage:
    """Intel AutoRound, in its own, AutoGPTQ's or AutoAWQ's layout; ``extra_config`` changes single
    modules.
    """
    bits = bits_of(keys, "bits")
    group = group_of(keys, None, "group_size")
    kind = keys.text("data_type") if keys.has("data_type") else "int"
    packing = _auto_round_packing(keys, kind, bits, group)
    overrides = []
    extra = keys.section("extra_config") if keys.has("extra_config") else None
    for name in extra.stated() if extra else ():
        assert extra is not None
        own = extra.section(name)
        changed = own.count("bits") if own.has("bits") else bits
        own_group = group_of(own, group, "group_size")
        is_wide = changed >= _WIDE_BITS
        overrides.append(
            PackingRule(
                modules=ModuleNames(extra, name, [name]),
                packing=None if is_wide else _auto_round_packing(own, kind, changed, own_group),
            )
        )
    skipped = names_in(keys, "modules_to_not_convert")
    return Storage(
        name=packing.format, wide=wide, choose=unless(skipped, packing, IN_LAYERS, overrides)
    )


def _auto_round_packing(keys: ConfigKeys, kind: str, bits: int, group: int) -> Packing:
    if bits > _MAX_BITS:
        raise keys.error("bits", f"must be from 1 to {_MAX_BITS}, or 16, got {bits}")
    if kind == "int":
        return grouped_integers(bits, group, zero_bits=bits)
    if kind.startswith("mx_fp") and bits in (4, 8):
        return mx(f"mxfp{bits}", bits, group or 32)
    if kind.startswith("nv_fp") and bits == 4:
        return nvfp4(group or 16)
    raise keys.error("data_type", f"is not understood, got {shown(kind)} of {bits} bits")


def eight_bit_rows(keys: ConfigKeys, wide: Packing) -> Storage:
    """8-bit integers with a 16-bit scale for each output: EETQ, and SGLang's W8A8."""
    packing = grouped_integers(8, 0)
    skipped = names_in(keys, "modules_to_not_convert", "ignore", "ignored_layers")
    return Storage(name=packing.format, wide=wide, choose=unless(skipped, packing))


def hqq(keys: ConfigKeys, wide: Packing) -> Storage:
    """Half-quadratic quantisation: a 16-bit scale and zero point for each group."""
    config = keys.section("quant_config")
    stated = config.section("weight_quant_params") if config.has("weight_quant_params") else config
    for name in ("scale_quant_params", "zero_quant_params", "offload_meta"):
        if config.has(name) and config.value(name):
            raise config.error(name, f"is not understood, got {shown(config.value(name))}")
    packing = grouped_integers(
        bits_of(stated, "nbits"), group_of(stated, 0, "group_size"), zero_bits=16
    )
    skipped = names_in(keys, "skip_modules")
    return Storage(name=packing.format, wide=wide, choose=unless(skipped, packing))


def mlx(keys: ConfigKeys, wide: Packing) -> Storage:
    """MLX: every linear layer, the embedding and the head. A module that the settings name has
    settings of its own, or false.
    """
    packing = mlx_packing(keys)
    overrides = []
    for name, value in keys.stated().items():
        # MLX writes modules beside its own settings, under their names.
        if isinstance(value, Mapping) or (isinstance(value, bool) and name not in keys.used):
            overrides.append(_mlx_rule(keys, name, value, packing))
    nothing = ModuleNames(keys, "skip", ())
    return Storage(
        name=packing.format, wide=wide, choose=unless(nothing, packing, _EVERYTHING, overrides)
    )


def _mlx_rule(keys: ConfigKeys, name: str, value: Any, packing: Packing) -> PackingRule:
    keys.has(name)
    modules = ModuleNames(keys, name, [name])
    if isinstance(value, bool):
        return PackingRule(modules=modules, packing=packing if value else None)
    return PackingRule(modules=modules, packing=mlx_packing(keys.section(name)))


def mlx_packing(keys: ConfigKeys) -> Packing:
    """Return the packing of a mode. An affine one has a 16-bit scale and a 16-bit bias for each
    group; the others are as their names say.
    """
    bits = bits_of(keys, "bits")
    mode = keys.text("mode") if keys.has("mode") else "affine"
    group = keys.count("group_size")
    if mode == "affine":
        return grouped_integers(bits, group, zero_bits=16)
    if mode in ("mxfp4", "mxfp8"):
        return mx(mode, bits, group)
    if mode == "nvfp4":
        return nvfp4(group, num_scales=0)
    raise keys.error("mode", f"may be affine, mxfp4, mxfp8 or nvfp4, got {shown(mode)}")
