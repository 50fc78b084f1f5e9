"""AMD Quark: a format for all modules, others by name."""

from typing import Any

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.choosing import PackingRule, names_in, unless
from sim.model.importers.stored.module_names import ModuleNames
from sim.model.importers.stored.packing import (
    Packing,
    fp8_by_row,
    fp8_by_tensor,
    grouped_integers,
    mx,
)
from sim.model.importers.stored.storage import IN_LAYERS, Storage
from sim.model.model import TensorClass

_CLASSES = IN_LAYERS | {TensorClass.HEAD}


def quark(keys: ConfigKeys, wide: Packing) -> Storage:
    """Return the storage: ``global_quant_config`` for all linear layers but ``exclude``,
    ``layer_quant_config`` for modules by name.
    """
    packing = _packing(keys.section("global_quant_config"))
    if keys.has("layer_type_quant_config") and keys.section("layer_type_quant_config").stated():
        raise keys.error("layer_type_quant_config", "is not understood; it may be empty")
    overrides = []
    own = keys.section("layer_quant_config") if keys.has("layer_quant_config") else None
    for name in own.stated() if own else ():
        assert own is not None
        overrides.append(
            PackingRule(modules=ModuleNames(own, name, [name]), packing=_packing(own.section(name)))
        )
    return Storage(
        name=packing.format if packing else "16bit",
        wide=wide,
        choose=unless(names_in(keys, "exclude"), packing or wide, _CLASSES, overrides),
    )


def _packing(section: ConfigKeys) -> Packing | None:
    if not section.has("weight"):
        return None
    weight = section.value("weight")
    if isinstance(weight, list):
        raise section.error("weight", f"must be one mapping, got {shown(weight)}")
    keys = section.section("weight")
    kind = keys.text("dtype").lower()
    scheme = keys.text("qscheme") if keys.has("qscheme") else "per_tensor"
    return _known(keys, kind, scheme)


def _known(keys: ConfigKeys, kind: str, scheme: str) -> Packing:
    group: Any = keys.count("group_size") if scheme == "per_group" else 0
    if kind == "fp4" and scheme == "per_group":
        return mx("mxfp4", 4, group)
    if kind in ("fp6_e2m3", "fp6_e3m2") and scheme == "per_group":
        return mx("mxfp6", 6, group)
    if kind in ("fp8_e4m3", "fp8_e5m2") and scheme == "per_tensor":
        return fp8_by_tensor(num_scales=2)
    if kind in ("fp8_e4m3", "fp8_e5m2") and scheme == "per_channel":
        return fp8_by_row()
    if kind in ("int4", "uint4", "int8", "uint8") and scheme in ("per_group", "per_channel"):
        bits = int(kind[-1])
        return grouped_integers(bits, group, zero_bits=bits if kind.startswith("u") else 0)
    raise keys.error("dtype", f"is not understood, got {shown(kind)} with qscheme {shown(scheme)}")
