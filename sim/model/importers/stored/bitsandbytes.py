"""bitsandbytes: 4-bit codes in blocks of 64, and 8-bit rows."""

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.choosing import names_in, unless
from sim.model.importers.stored.packing import Packing
from sim.model.importers.stored.storage import Storage

_BLOCK = 64
_DOUBLE_BLOCK = 256
_CODE_BYTES = 16 * 4
_DOUBLE_CODE_BYTES = 256 * 4
_KINDS = ("nf4", "fp4")


def bitsandbytes(keys: ConfigKeys, wide: Packing) -> Storage:
    """Return the storage in 4 or 8 bits (QLoRA, arXiv 2305.14314, section 3; LLM.int8(), arXiv
    2208.07339).
    """
    is_four = _flag(keys, "load_in_4bit")
    is_eight = _flag(keys, "load_in_8bit")
    # Both false says that nothing is packed, which such settings are not written for.
    if is_four == is_eight:
        raise keys.error("load_in_4bit", "or load_in_8bit must be true, one of the two")
    # LLM.int8() keeps a 32-bit scale for each output.
    packing = _four_bits(keys) if is_four else Packing(format="int8", bits=8, scale_bits=32)
    skipped = names_in(keys, "llm_int8_skip_modules", "modules_to_not_convert")
    return Storage(name=packing.format, wide=wide, choose=unless(skipped, packing))


def _flag(keys: ConfigKeys, name: str) -> bool:
    return keys.flag_or(keys.flag_or(False, f"_{name}"), name)


def _four_bits(keys: ConfigKeys) -> Packing:
    """Return the packing. A block has a 32-bit scale. With ``bnb_4bit_use_double_quant`` it has an
    8-bit one, and 256 blocks share 32 bits more.
    """
    kind = keys.text("bnb_4bit_quant_type") if keys.has("bnb_4bit_quant_type") else "fp4"
    if kind not in _KINDS:
        raise keys.error("bnb_4bit_quant_type", f"may be nf4 or fp4, got {shown(kind)}")
    is_double = keys.flag_or(False, "bnb_4bit_use_double_quant")
    scale_bits = 8 + 32 / _DOUBLE_BLOCK if is_double else 32
    return Packing(
        format="nf4",
        bits=4 + scale_bits / _BLOCK,
        tensor_bytes=_CODE_BYTES + (_DOUBLE_CODE_BYTES if is_double else 0),
    )
