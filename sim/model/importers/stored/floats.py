"""8-bit and 4-bit floats: DeepSeek's blocks, FBGEMM's rows, gpt-oss's MXFP4, FP-Quant."""

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.choosing import PackingRule, names_in, unless
from sim.model.importers.stored.packing import (
    Packing,
    fp8_by_block,
    fp8_by_row,
    fp8_by_tensor,
    mx,
    nvfp4,
)
from sim.model.importers.stored.storage import Storage
from sim.model.model import TensorClass

_BLOCK_SIDES = 2
_SCALE_BITS = {"float": 32, "ue8m0": 8}


def fp8(keys: ConfigKeys, wide: Packing) -> Storage:
    """8-bit floats, with a 32-bit scale for each block of ``weight_block_size``, or for each
    matrix.

    ``expert_dtype: fp4`` (DeepSeek-V4) holds the routed experts in 4 bits, with an 8-bit exponent
    for each 32 weights.
    """
    is_static = keys.has("activation_scheme") and keys.text("activation_scheme") == "static"
    packing = fp8_by_tensor(num_scales=2 if is_static else 1)
    if keys.has("weight_block_size"):
        packing = fp8_by_block(*block_of(keys, "weight_block_size"), scale_bits=_scale_bits(keys))
    skipped = names_in(keys, "modules_to_not_convert", "ignored_layers", "ignore")
    if keys.has("modules_to_convert") and keys.items("modules_to_convert"):
        overrides = [PackingRule(modules=names_in(keys, "modules_to_convert"), packing=packing)]
    else:
        overrides = []
    classes = unless(skipped, packing, overrides=overrides)
    if not _has_fp4_experts(keys):
        return Storage(name="fp8", wide=wide, choose=classes)
    experts = unless(skipped, mx("mxfp4", 4), frozenset({TensorClass.EXPERT}))
    return Storage(
        name="fp8-mxfp4",
        wide=wide,
        # Experts first: the settings' own format is of all that is not an expert.
        choose=lambda weight, module: experts(weight, module) or classes(weight, module),
    )


def _has_fp4_experts(keys: ConfigKeys) -> bool:
    kind = keys.text("expert_dtype") if keys.has("expert_dtype") else "fp8"
    if kind not in ("fp4", "fp8"):
        raise keys.error("expert_dtype", f"may be fp4 or fp8, got {shown(kind)}")
    return kind == "fp4"


def _scale_bits(keys: ConfigKeys) -> int:
    name = keys.text("scale_fmt") if keys.has("scale_fmt") else "float"
    # DeepSeek-V3.1 and V3.2 round scales to powers of two and still store them in 32 bit;
    # only V4 files, which state the experts' format too, hold them in one byte.
    if name not in _SCALE_BITS:
        raise keys.error("scale_fmt", f"may be float or ue8m0, got {shown(name)}")
    return _SCALE_BITS[name] if keys.has("expert_dtype") else _SCALE_BITS["float"]


def block_of(keys: ConfigKeys, name: str) -> tuple[int, int]:
    """Rows and columns of a block. Raises InputError for anything but two positive integers."""
    sides = keys.items(name)
    is_right = len(sides) == _BLOCK_SIDES and all(
        isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides
    )
    if not is_right:
        raise keys.error(name, f"must be two positive integers, got {shown(sides)}")
    return sides[0], sides[1]


def fp8_rows(keys: ConfigKeys, wide: Packing) -> Storage:
    """8-bit floats with a 32-bit scale for each output: FBGEMM, and SGLang's W8A8."""
    skipped = names_in(keys, "modules_to_not_convert", "ignore", "ignored_layers")
    return Storage(name="fp8", wide=wide, choose=unless(skipped, fp8_by_row()))


def mxfp4(keys: ConfigKeys, wide: Packing) -> Storage:
    """gpt-oss: the experts' matrices alone are in MXFP4."""
    skipped = names_in(keys, "modules_to_not_convert")
    choose = unless(skipped, mx("mxfp4", 4), frozenset({TensorClass.EXPERT}))
    return Storage(name="mxfp4", wide=wide, choose=choose)


def fp_quant(keys: ConfigKeys, wide: Packing) -> Storage:
    """FP-Quant: all linear layers in MXFP4 or NVFP4. The rotations of their groups are not
    counted.
    """
    name = keys.text("forward_dtype")
    if name not in ("mxfp4", "nvfp4"):
        raise keys.error("forward_dtype", f"may be mxfp4 or nvfp4, got {shown(name)}")
    if keys.flag_or(False, "store_master_weights"):
        raise keys.error("store_master_weights", "may be false, got True")
    packing = mx("mxfp4", 4) if name == "mxfp4" else nvfp4()
    skipped = names_in(keys, "modules_to_not_convert")
    return Storage(name=name, wide=wide, choose=unless(skipped, packing))
