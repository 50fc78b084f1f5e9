"""Codebooks and trellises: AQLM, EXL2, EXL3, BitNet."""

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.choosing import names_in, unless
from sim.model.importers.stored.packing import Packing
from sim.model.importers.stored.storage import Storage
from sim.model.importers.weights import Weight
from sim.model.model import TensorClass

_MAX_CODE_BITS = 16
_MAX_BITS = 8.5


def aqlm(keys: ConfigKeys, wide: Packing) -> Storage:
    """Additive codebooks (arXiv 2401.06118): codes, a 16-bit scale for each group of outputs, the
    codebooks.
    """
    books = keys.count("num_codebooks")
    code_bits = keys.count("nbits_per_codebook")
    if code_bits > _MAX_CODE_BITS:
        raise keys.error("nbits_per_codebook", f"must be at most {_MAX_CODE_BITS}, got {code_bits}")
    group = keys.count("in_group_size")
    outputs = keys.count("out_group_size")
    packing = Packing(
        format="codebook",
        bits=books * code_bits / (group * outputs),
        scale_bits=16,
        tile_rows=outputs,
        # Every matrix has its own codebooks, in 16 bits.
        tensor_bytes=books * 2**code_bits * group * outputs * 2,
    )
    skipped = names_in(keys, "linear_weights_not_to_quantize")
    return Storage(name="codebook", wide=wide, choose=unless(skipped, packing))


def exllama(keys: ConfigKeys, wide: Packing) -> Storage:
    """EXL2 and EXL3: mean bits of the layers' weights, scales included, and bits of the head."""
    body = _bits(keys, "bits")
    is_trellis = keys.text("quant_method") == "exl3"
    # EXL3 keeps a 16-bit factor for each input and each output.
    signs = 16 if is_trellis else 0
    packing = Packing(format="trellis", bits=body, row_bits=signs, column_bits=signs)
    head_bits = _bits(keys, "head_bits") if keys.has("head_bits") else None
    head = None
    if head_bits is not None:
        head = Packing(format="trellis", bits=head_bits, row_bits=signs, column_bits=signs)
    in_layers = unless(names_in(keys, "ignore"), packing)

    def _choose(weight: Weight, module: str) -> Packing | None:
        return head if weight.tensor_class is TensorClass.HEAD else in_layers(weight, module)

    return Storage(name=f"{keys.text('quant_method')}-{body:g}", wide=wide, choose=_choose)


def _bits(keys: ConfigKeys, name: str) -> float:
    value = keys.value(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= _MAX_BITS:
        raise keys.error(name, f"must be from 1 to {_MAX_BITS}, got {shown(value)}")
    return float(value)


def bitnet(keys: ConfigKeys, wide: Packing) -> Storage:
    """Ternary weights (arXiv 2402.17764), four to a byte, one 16-bit scale a matrix."""
    for name in ("linear_class", "quantization_mode"):
        keys.has(name)
    skipped = names_in(keys, "modules_to_not_convert")
    packing = Packing(format="int2", bits=2, tensor_bytes=2)
    return Storage(name="int2", wide=wide, choose=unless(skipped, packing))
