"""torchao: the configurations that it writes into a checkpoint."""

import difflib

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.choosing import names_in, unless
from sim.model.importers.stored.integers import group_of
from sim.model.importers.stored.packing import Packing, fp8_by_row, grouped_integers
from sim.model.importers.stored.storage import IN_LAYERS, Storage
from sim.model.model import TensorClass

_INT4 = frozenset({"int4_weight_only", "Int4WeightOnlyConfig"})
_INT4_GROUP = 128
_FIXED = {
    "int8_weight_only": grouped_integers(8, 0),
    "Int8WeightOnlyConfig": grouped_integers(8, 0),
    "int8_dynamic_activation_int8_weight": grouped_integers(8, 0),
    "Int8DynamicActivationInt8WeightConfig": grouped_integers(8, 0),
    "float8_weight_only": fp8_by_row(),
    "Float8WeightOnlyConfig": fp8_by_row(),
    "float8_dynamic_activation_float8_weight": fp8_by_row(),
    "Float8DynamicActivationFloat8WeightConfig": fp8_by_row(),
}


def torchao(keys: ConfigKeys, wide: Packing) -> Storage:
    """Return the storage by ``quant_type``: a name with ``quant_type_kwargs``, or a configuration
    under ``default``.
    """
    name, data = _stated(keys)
    packing = _packing(keys, name, data)
    classes = IN_LAYERS
    if keys.flag_or(False, "include_input_output_embeddings") or keys.flag_or(
        False, "include_embedding"
    ):
        classes = classes | {TensorClass.EMBEDDING, TensorClass.HEAD}
    keys.has("untie_embedding_weights")
    skipped = names_in(keys, "modules_to_not_convert")
    return Storage(name=packing.format, wide=wide, choose=unless(skipped, packing, classes))


def _stated(keys: ConfigKeys) -> tuple[str, ConfigKeys | None]:
    if isinstance(keys.value("quant_type"), str):
        data = keys.section("quant_type_kwargs") if keys.has("quant_type_kwargs") else None
        return keys.text("quant_type"), data
    kinds = keys.section("quant_type")
    if set(kinds.stated()) != {"default"}:
        raise keys.error("quant_type", f"must have one key, default, got {shown(kinds.stated())}")
    default = kinds.section("default")
    return default.text("_type"), default.section("_data") if default.has("_data") else None


def _packing(keys: ConfigKeys, name: str, data: ConfigKeys | None) -> Packing:
    if name in _FIXED:
        return _FIXED[name]
    if name in _INT4:
        group = group_of(data, _INT4_GROUP, "group_size") if data else _INT4_GROUP
        # Its zero points are 16-bit numbers, not packed integers.
        return grouped_integers(4, group, zero_bits=16)
    near = difflib.get_close_matches(name, {*_FIXED, *_INT4}, n=3, cutoff=0.3)
    hint = f"; near names: {', '.join(near)}" if near else ""
    raise keys.error("quant_type", f"{shown(name)} is not understood{hint}")
