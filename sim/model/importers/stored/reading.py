"""Finding the quantisation settings of a checkpoint, wherever its tool wrote them, and reading
them.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.stored.bitsandbytes import bitsandbytes
from sim.model.importers.stored.codebooks import aqlm, bitnet, exllama
from sim.model.importers.stored.compressed_tensors import compressed_tensors
from sim.model.importers.stored.floats import fp8, fp8_rows, fp_quant, mxfp4
from sim.model.importers.stored.integers import auto_round, awq, eight_bit_rows, gptq, hqq, mlx
from sim.model.importers.stored.modelopt import modelopt
from sim.model.importers.stored.packing import Packing, wide
from sim.model.importers.stored.quark import quark
from sim.model.importers.stored.storage import Storage, nothing_packed
from sim.model.importers.stored.torchao import torchao

Reader = Callable[[ConfigKeys, Packing], Storage]

METHODS: Mapping[str, Reader] = MappingProxyType(
    {
        "aqlm": aqlm,
        "auto-round": auto_round,
        "auto_round": auto_round,
        "awq": awq,
        "awq_marlin": awq,
        "bitnet": bitnet,
        "bitsandbytes": bitsandbytes,
        "compressed-tensors": compressed_tensors,
        "compressed_tensors": compressed_tensors,
        "eetq": eight_bit_rows,
        "exl2": exllama,
        "exl3": exllama,
        "fbgemm_fp8": fp8_rows,
        "fp8": fp8,
        "fp_quant": fp_quant,
        "gptq": gptq,
        "gptq_marlin": gptq,
        "hqq": hqq,
        "intel/auto-round": auto_round,
        "metal": mlx,
        "mlx": mlx,
        "modelopt": modelopt,
        "modelopt_fp4": modelopt,
        "modelopt_fp8": modelopt,
        "modelopt_mixed": modelopt,
        "mxfp4": mxfp4,
        "quark": quark,
        "torchao": torchao,
        "w8a8_fp8": fp8_rows,
        "w8a8_int8": eight_bit_rows,
    }
)
"""Readers of settings by ``quant_method``."""

_KNOWN = (
    "aqlm, auto-round, awq, bitnet, bitsandbytes, compressed-tensors, eetq, exl3, fp8, fbgemm_fp8,"
    " gptq, hqq, mlx, modelopt, mxfp4, quark, torchao"
)

_PLACES = ("quantization_config", "compression_config", "quantization")
"""Keys of a configuration that hold settings; MLX writes the last."""

BESIDE: Mapping[str, str] = MappingProxyType(
    {
        "hf_quant_config.json": "modelopt",
        "quantize_config.json": "gptq",
        "quant_config.json": "awq",
    }
)
"""Files beside config.json that hold settings, and the method of each: of ModelOpt, AutoGPTQ and
AutoAWQ.
"""

_HARMLESS = re.compile(
    r"quant_method|.*activation.*|.*kv_cache.*|.*version|producer|quantization_status|"
    r"global_compression_ratio|format|fmt|checkpoint_format|packing_format|desc_act|sym|dataset|"
    r"tokenizer|damp_.*|mse|static_groups|true_sequential|model_.*|batch_size|pad_token_id|"
    r"use_.*|max_input_length|exllama_config|backend|meta|nsamples|seqlen|iters|lr|minmax_lr|"
    r"low_.*|enable_.*|amp|gradient_accumulate_steps|autoround_version|act_.*|super_.*|scale_dtype|"
    r"block_name_to_quantize|modules_in_block_to_quantize|quant_block_list|to_quant_block_names|"
    r"train_bs|supported_types|not_use_.*|disable_.*|llm_int8_threshold|"
    r"llm_int8_enable_fp32_cpu_offload|llm_int8_has_fp16_weight|bnb_4bit_compute_dtype|"
    r"bnb_4bit_quant_storage|run_compressed|dequantize|hadamard_group_size|transform_init|"
    r"pseudoquantization|backward_dtype|forward_method|algo_config|export|quant_mode|"
    r"softmax_quant_spec|.*_name|.*_pattern|calibration|group_size|quant_algo|zero_point|"
    r"do_fuse|fuse_max_seq_len|modules_to_fuse|rmsnorm_epsilon|cache_.*|scale_fmt"
)
"""Settings that change no stored byte: how activations are treated, and how the checkpoint was
made.
"""

# 16 bits are 16 bits: float16 goes by the name that machines have their rates and curves under
_WIDE = MappingProxyType(
    {
        "bfloat16": wide("bf16", 16),
        "float16": wide("bf16", 16),
        "half": wide("bf16", 16),
        "float32": wide("f32", 32),
        "float": wide("f32", 32),
        "auto": wide("bf16", 16),
    }
)


def native_storage(keys: ConfigKeys) -> Storage:
    """How the configuration says that its checkpoint is stored; 16 bit where it says nothing.

    Raises InputError, naming the key, for settings that are not understood.
    """
    packing = _wide_packing(keys)
    for place in _PLACES:
        if keys.has(place):
            return _read(keys, place, packing)
    name = "16bit" if packing.bits == 16 else "32bit"
    return Storage(name=name, wide=packing, choose=nothing_packed)


def states_settings(config: Mapping[str, Any]) -> bool:
    """Whether the configuration itself says how it is quantised."""
    # Multimodal checkpoints state it beside the text part or within.
    nested = config.get("text_config")
    parts = [config, nested if isinstance(nested, Mapping) else {}]
    return any(part.get(place) is not None for part in parts for place in _PLACES)


def settings_beside(name: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of a file of BESIDE as ``quantization_config`` would hold it."""
    nested = data.get("quantization")
    inner = nested if isinstance(nested, Mapping) else data
    return {"quant_method": BESIDE[name], **inner}


def _wide_packing(keys: ConfigKeys) -> Packing:
    if not keys.has("dtype", "torch_dtype"):
        return _WIDE["auto"]
    name = keys.text("dtype", "torch_dtype").removeprefix("torch.")
    if name not in _WIDE:
        known = ", ".join(_WIDE)
        raise keys.error("torch_dtype", f"{shown(name)} is not understood; known: {known}")
    return _WIDE[name]


def _read(keys: ConfigKeys, place: str, packing: Packing) -> Storage:
    settings = keys.section(place)
    if not settings.stated():
        raise keys.error(place, "is empty; choose a scheme with `quantization`")
    if keys.has("expert_dtype") and not settings.has("expert_dtype"):
        # DeepSeek-V4 states it beside the settings
        own = {**settings.stated(), "expert_dtype": keys.value("expert_dtype")}
        settings = ConfigKeys(own, settings.where, settings.prefix)
    # Keys that its reader asks for are marked as used; what is left may change bytes.
    storage = _reader(settings, place)(settings, packing)
    for name, value in settings.stated().items():
        is_empty = value in (False, 0, "", [], {}) and not isinstance(value, float)
        if name not in settings.used and not is_empty and not _HARMLESS.fullmatch(name):
            raise settings.error(
                name,
                f"is not understood, got {shown(value)}; choose a scheme with `quantization`",
            )
    return storage


def _reader(settings: ConfigKeys, place: str) -> Reader:
    """Return the reader of the settings, by ``quant_method``. MLX states no method, and ModelOpt
    sometimes only its algorithm.
    """
    if not settings.has("quant_method"):
        if settings.has("quant_algo"):
            return modelopt
        # MLX writes no method; of the methods known here no other leaves it out.
        if settings.has("bits") and (place == "quantization" or settings.has("group_size")):
            return mlx
        if settings.has("config_groups"):
            return compressed_tensors
    method = settings.text("quant_method").lower()
    if method not in METHODS:
        raise settings.error(
            "quant_method",
            f"{shown(method)} is not understood; choose a scheme with `quantization` (known: {_KNOWN})",
        )
    return METHODS[method]
