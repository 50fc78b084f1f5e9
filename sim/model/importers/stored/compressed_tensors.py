"""compressed-tensors (llm-compressor): groups of modules, each with its own format."""

from collections.abc import Sequence

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.choosing import PackingRule, names_in
from sim.model.importers.stored.floats import block_of
from sim.model.importers.stored.integers import bits_of, group_of
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
from sim.model.importers.stored.storage import IN_LAYERS, Chooser, Storage
from sim.model.importers.weights import Weight
from sim.model.model import TensorClass

_CLASSES = {
    "Linear": IN_LAYERS | {TensorClass.HEAD},
    "Embedding": frozenset({TensorClass.EMBEDDING}),
}
_NVFP4_GROUP = 16
_SHAPE_BYTES = 16
_INDEX_BITS = 32


def compressed_tensors(keys: ConfigKeys, wide: Packing) -> Storage:
    """Return the storage that ``config_groups`` state, without the modules of ``ignore``. Raises
    InputError for sparse weights.
    """
    _is_dense(keys)
    return grouped_storage(keys, wide)


def grouped_storage(keys: ConfigKeys, wide: Packing) -> Storage:
    """Return the storage of ``config_groups``, each with ``targets`` and ``weights``. The modules
    of ``ignore`` stay wide.
    """
    groups = keys.section("config_groups")
    if not groups.stated():
        raise keys.error("config_groups", "must name at least one group")
    choosers = []
    formats = []
    for name in groups.stated():
        group = groups.section(name)
        packing = _packing(group) if group.has("weights") else None
        choosers += _by_target(group, packing)
        formats += [packing.format] if packing else []
    skipped = names_in(keys, "ignore", "exclude_modules")
    names = list(dict.fromkeys(formats))
    return Storage(
        name=names[0] if len(names) == 1 else "mixed" if names else "16bit",
        wide=wide,
        choose=_first(skipped, choosers),
    )


def _is_dense(keys: ConfigKeys) -> None:
    """Raise InputError for weights that are stored sparsely, or transformed by extra weights."""
    if keys.has("sparsity_config"):
        sparsity = keys.section("sparsity_config")
        for name, value in sparsity.stated().items():
            if name == "format" and value != "dense":
                raise sparsity.error(name, f"may be dense, got {shown(value)}")
    if keys.has("transform_config") and keys.section("transform_config").stated():
        raise keys.error("transform_config", "is not understood")


def _by_target(group: ConfigKeys, packing: Packing | None) -> list[Chooser]:
    """Return one chooser for each class of modules that a target names, and one for all targets
    that name modules.
    """
    targets = group.items("targets")
    named = [target for target in targets if not isinstance(target, str) or target not in _CLASSES]
    choosers: list[Chooser] = []
    if named:
        rule = PackingRule(modules=ModuleNames(group, "targets", named), packing=packing)
        choosers.append(_of_rule(rule))
    for target in targets:
        if isinstance(target, str) and target in _CLASSES:
            choosers.append(_of_classes(_CLASSES[target], packing))
    return choosers


def _of_rule(rule: PackingRule) -> Chooser:
    return lambda weight, module: rule.packing if rule.modules.has(module) else None


def _of_classes(classes: frozenset[TensorClass], packing: Packing | None) -> Chooser:
    return lambda weight, module: packing if weight.tensor_class in classes else None


def _first(skipped: ModuleNames, choosers: Sequence[Chooser]) -> Chooser:
    def _choose(weight: Weight, module: str) -> Packing | None:
        if skipped.has(module):
            return None
        # Names come before classes of modules within a group, and groups in their order.
        found = (chooser(weight, module) for chooser in choosers)
        return next((packing for packing in found if packing is not None), None)

    return _choose


def _packing(group: ConfigKeys) -> Packing:
    weights = group.section("weights")
    bits = bits_of(weights, "num_bits")
    kind = weights.text("type") if weights.has("type") else "int"
    strategy = weights.text("strategy") if weights.has("strategy") else _strategy(weights)
    if kind == "int":
        return _integers(weights, bits, strategy)
    if kind == "float":
        return _floats(weights, bits, strategy)
    raise weights.error("type", f"may be int or float, got {shown(kind)}")


def _strategy(weights: ConfigKeys) -> str:
    return "group" if weights.has("group_size") else "tensor"


def _integers(weights: ConfigKeys, bits: int, strategy: str) -> Packing:
    """Packed integers with a 16-bit scale, zero points where asymmetric, and the shape. With
    ``actorder`` by group, each input has an index too.
    """
    if strategy not in ("tensor", "channel", "group"):
        raise weights.error(
            "strategy", f"of integers may be tensor, channel or group, got {shown(strategy)}"
        )
    is_symmetric = weights.flag_or(True, "symmetric")
    has_index = weights.has("actorder") and weights.value("actorder") in ("group", True)
    packing = grouped_integers(
        bits,
        group_of(weights, None, "group_size") if strategy == "group" else 0,
        zero_bits=0 if is_symmetric else bits,
        column_bits=_INDEX_BITS if has_index else 0,
    )
    return _with_shape(packing, is_whole=strategy == "tensor")


def _with_shape(packing: Packing, is_whole: bool) -> Packing:
    return Packing(
        format=packing.format,
        bits=packing.bits,
        scale_bits=packing.scale_bits,
        zero_bits=packing.zero_bits,
        # A scale for the whole tensor is one tile of all its rows.
        tile_rows=None if is_whole else 1,
        tile_columns=packing.tile_columns,
        column_bits=packing.column_bits,
        tensor_bytes=_SHAPE_BYTES,
    )


def _floats(weights: ConfigKeys, bits: int, strategy: str) -> Packing:
    if bits == 8 and strategy == "tensor":
        return fp8_by_tensor()
    if bits == 8 and strategy == "channel":
        return fp8_by_row(scale_bits=16)
    if bits == 8 and strategy == "block":
        return fp8_by_block(*block_of(weights, "block_structure"), scale_bits=16)
    if bits == 8 and strategy == "group":
        return mx("mxfp8", bits, weights.count("group_size"))
    if bits == 4 and strategy in ("tensor_group", "group"):
        group = weights.count("group_size")
        return nvfp4(group) if group == _NVFP4_GROUP else mx("mxfp4", bits, group)
    raise weights.error(
        "strategy", f"of floats of {bits} bits is not understood, got {shown(strategy)}"
    )
