"""How checkpoints are stored: bytes of published files, settings of every tool, and what is
refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hwprofiles import InputError, Kind, Provenance
from sim.model.importers import model_from_config
from sim.model.library import load_model, load_spec, save_model
from sim.model.model import Model, TensorClass

HERE = Provenance(kind=Kind.PUBLISHED, source="c.json", date="2026-01")
MLX_ROUTERS = {
    f"model.layers.{layer}.mlp.gate": {"group_size": 64, "bits": 8} for layer in range(48)
}


def _stored(name: str, settings: Any, key: str = "quantization_config") -> Model:
    config = {**(load_spec(name).config or {}), key: settings}
    return model_from_config(config, name=name, provenance=HERE, quantization=None)


def _groups(weights: Mapping[str, Any], **other: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        **other,
    }


MXFP4 = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}


@pytest.mark.parametrize(
    ("name", "key", "settings", "num_bytes"),
    [
        # total_size of openai/gpt-oss-20b as quoted publicly; tensor bytes in an inventory of
        # gpt-oss-120b
        ("gpt-oss-20b", "quantization_config", MXFP4, 13_761_264_768),
        ("gpt-oss-120b", "quantization_config", MXFP4, 65_248_815_744),
        # total_size of an unnamed AWQ file of 80 layers (public Go test
        # TestUnmarshalSafetensorIndex)
        ("llama-3.3-70b", "quantization_config", AWQ, 39_767_785_472),
        # mlx-community's files that exo pins (exo-explore/exo, tests); 8-bit routers are inferred
        # for Qwen3
        ("llama-3.1-8b", "quantization", {"group_size": 64, "bits": 4}, 4_517_404_672),
        ("llama-3.3-70b", "quantization", {"group_size": 64, "bits": 4}, 39_688_355_840),
        (
            "qwen3-30b-a3b",
            "quantization",
            {"group_size": 64, "bits": 4, **MLX_ROUTERS},
            17_180_913_664,
        ),
    ],
)
def test_bytes_are_those_of_published_files(
    name: str, key: str, settings: Any, num_bytes: int
) -> None:
    """A checkpoint has as many bytes as its publisher's index says."""
    assert _stored(name, settings, key).total_bytes == num_bytes


# Mixtral-8x7B: an expert's three matrices are 14336 × 4096 twice and 4096 × 14336
WIDE, TALL = 14336, 4096
EXPERT = 3 * WIDE * TALL
FP8_BLOCK = {"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e4m3"}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
QUARK = {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
TORCHAO = {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 64}, "_version": 1}
FLOAT8 = {"num_bits": 8, "type": "float"}


@pytest.mark.parametrize(
    ("settings", "name", "num_bytes"),
    [
        ({"quant_method": "fp8"}, "fp8", EXPERT + 3 * 4),
        (FP8_BLOCK, "fp8", EXPERT + EXPERT // 128**2 * 4),
        ({"quant_method": "fbgemm_fp8"}, "fp8", EXPERT + (2 * WIDE + TALL) * 4),
        ({"quant_method": "eetq"}, "int8", EXPERT + (2 * WIDE + TALL) * 2),
        (AWQ, "int4", EXPERT // 2 + EXPERT // 128 * 5 // 2),
        (GPTQ, "int4", EXPERT // 2 + EXPERT // 128 * 5 // 2 + (2 * TALL + WIDE) * 4),
        (
            GPTQ | {"bits": 8, "group_size": -1},
            "int8",
            EXPERT + (2 * WIDE + TALL) * 3 + (2 * TALL + WIDE) * 4,
        ),
        ({"quant_method": "mxfp4"}, "mxfp4", EXPERT * 17 // 32),
        (BNB, "nf4", EXPERT // 2 + EXPERT // 64 * 4 + 3 * 64),
        (
            BNB | {"bnb_4bit_use_double_quant": True},
            "nf4",
            EXPERT // 2 + EXPERT // 64 + EXPERT // 64 // 256 * 4 + 3 * (64 + 1024),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_8bit": True},
            "int8",
            EXPERT + (2 * WIDE + TALL) * 4,
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16},
            "nvfp4",
            EXPERT * 9 // 16 + 3 * 8,
        ),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", EXPERT + 3 * 8),
        (_groups(INT4), "int4", EXPERT // 2 + EXPERT // 128 * 2 + 3 * 16),
        (
            _groups(INT4 | {"symmetric": False}),
            "int4",
            EXPERT // 2 + EXPERT // 128 * 5 // 2 + 3 * 16,
        ),
        (_groups(FLOAT8 | {"strategy": "tensor"}), "fp8", EXPERT + 3 * 4),
        (_groups(FLOAT8 | {"strategy": "channel"}), "fp8", EXPERT + (2 * WIDE + TALL) * 2),
        (
            _groups(FLOAT8 | {"strategy": "block", "block_structure": [128, 128]}),
            "fp8",
            EXPERT + EXPERT // 128**2 * 2,
        ),
        (
            _groups({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}),
            "nvfp4",
            EXPERT * 9 // 16 + 3 * 8,
        ),
        (
            {"quant_method": "quark", "global_quant_config": {"weight": QUARK}},
            "mxfp4",
            EXPERT * 17 // 32,
        ),
        (
            {
                "quant_method": "hqq",
                "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}},
            },
            "int4",
            EXPERT // 2 + EXPERT // 64 * 4,
        ),
        (
            {"quant_method": "torchao", "quant_type": {"default": TORCHAO}},
            "int4",
            EXPERT // 2 + EXPERT // 64 * 4,
        ),
        (
            {"quant_method": "auto-round", "bits": 2, "group_size": 32},
            "int2",
            EXPERT // 4 + EXPERT // 32 * 9 // 4,
        ),
        ({"bits": 4, "group_size": 64}, "int4", EXPERT // 2 + EXPERT // 64 * 4),
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "mxfp4", EXPERT * 17 // 32),
        (
            {"quant_method": "exl3", "bits": 3.0, "head_bits": 6},
            "exl3-3",
            EXPERT * 3 // 8 + 3 * (WIDE + TALL) * 2,
        ),
        (
            {
                "quant_method": "aqlm",
                "in_group_size": 8,
                "out_group_size": 1,
                "num_codebooks": 1,
                "nbits_per_codebook": 16,
            },
            "codebook",
            EXPERT // 4 + (2 * WIDE + TALL) * 2 + 3 * 2**16 * 8 * 2,
        ),
    ],
)
def test_an_expert_takes_the_bytes_of_its_format(
    settings: dict[str, Any], name: str, num_bytes: int
) -> None:
    """Weights, scales, zero points, codebooks and shapes of one expert, by hand for each tool."""
    model = _stored("mixtral-8x7b", settings)
    assert model.quantization == name
    assert model.expert_bytes == num_bytes
    assert model.top_bytes[TensorClass.NORM] == 2 * 4096


@pytest.mark.parametrize(
    ("settings", "wide"),
    [
        (AWQ | {"modules_to_not_convert": ["self_attn"]}, {TensorClass.ATTENTION}),
        (FP8_BLOCK | {"modules_to_not_convert": ["experts"]}, {TensorClass.EXPERT}),
        (FP8_BLOCK | {"ignored_layers": ["model.layers.*.self_attn*"]}, {TensorClass.ATTENTION}),
        (GPTQ | {"dynamic": {"-:.*self_attn.*": {}}}, {TensorClass.ATTENTION}),
        (_groups(INT4) | {"ignore": ["re:.*self_attn.*", "lm_head"]}, {TensorClass.ATTENTION}),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "exclude_modules": ["lm_head", "model.layers.*.self_attn*"],
            },
            {TensorClass.ATTENTION},
        ),
        (
            {
                "quant_method": "quark",
                "global_quant_config": {"weight": QUARK},
                "exclude": ["lm_head", "re:.*self_attn.*"],
            },
            {TensorClass.ATTENTION},
        ),
        (MXFP4, {TensorClass.ATTENTION}),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {
                    f"model.layers.{layer}.block_sparse_moe.experts": {"quant_algo": "NVFP4"}
                    for layer in range(32)
                },
            },
            {TensorClass.ATTENTION},
        ),
    ],
)
def test_modules_that_are_left_out_stay_wide(
    settings: dict[str, Any], wide: set[TensorClass]
) -> None:
    """Names, parts of names, globs, regular expressions: what they name takes two bytes a weight,
    the rest less.
    """
    for layer in _stored("mixtral-8x7b", settings).layers:
        for which in (TensorClass.ATTENTION, TensorClass.EXPERT):
            is_wide = layer.bytes[which] == 2 * layer.params[which]
            assert is_wide == (which in wide)


def test_one_layer_may_be_left_out() -> None:
    """A name with a layer's number changes that layer alone."""
    settings = AWQ | {"modules_to_not_convert": ["model.layers.3.block_sparse_moe"]}
    sizes = [layer.expert_bytes for layer in _stored("mixtral-8x7b", settings).layers]
    assert sizes[3] == 2 * EXPERT
    assert {sizes[layer] for layer in range(32) if layer != 3} == {sizes[0]} != {2 * EXPERT}


def test_several_groups_each_have_their_format() -> None:
    """Groups of compressed-tensors: attention in 8-bit floats, experts in 4-bit integers."""
    settings = _groups(INT4)
    settings["config_groups"] = {
        "attention": {"targets": ["re:.*self_attn.*"], "weights": FLOAT8 | {"strategy": "channel"}},
        "experts": {"targets": ["re:.*experts.*"], "weights": INT4},
    }
    model = _stored("mixtral-8x7b", settings)
    assert model.quantization == "mixed"
    assert model.dtypes[TensorClass.ATTENTION] == "fp8"
    assert model.dtypes[TensorClass.EXPERT] == "int4"


def test_32_bit_checkpoints_take_twice_the_bytes() -> None:
    """A file that says float32 holds four bytes a weight."""
    model = _stored("olmoe-1b-7b", "float32", "torch_dtype")
    assert model.quantization == "32bit"
    assert model.total_bytes == 4 * model.total_params


def test_settings_beside_the_configuration_are_read(tmp_path: Path) -> None:
    """ModelOpt writes hf_quant_config.json into the folder; an imported file keeps what it says."""
    config = load_spec("qwen3-235b-a22b").config
    settings = {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"]}
    beside = {"producer": {"name": "modelopt"}, "quantization": settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(beside))
    for path in (tmp_path, tmp_path / "config.json"):
        assert load_model(str(path)).total_bytes == 134_101_651_392
    save_model(load_spec(str(tmp_path)), tmp_path / "model.yaml")
    assert (
        load_model(str(tmp_path / "model.yaml")).total_bytes
        == load_model(str(tmp_path)).total_bytes
    )
    assert load_model(str(tmp_path), "16bit").total_bytes == 470_187_269_120
    assert load_model(str(tmp_path / "model.yaml"), "4bit").quantization == "4bit"


def test_settings_in_the_text_part_are_read() -> None:
    """A wrapper may hold them beside text_config or in it."""
    config = dict(load_spec("qwen3-30b-a3b").config or {})
    inner = model_from_config(
        {"model_type": "qwen3_vl_moe", "text_config": {**config, "quantization_config": AWQ}},
        name="m",
        provenance=HERE,
        quantization=None,
    )
    assert inner.quantization == "int4"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "key quantization_config is empty"),
        ("fp8", "key quantization_config must be a mapping"),
        (
            {"quant_method": "spqr", "bits": 3},
            "quantization_config.quant_method 'spqr' is not understood",
        ),
        ({"bits": 4}, "quantization_config.quant_method is missing"),
        ({"quant_method": "awq", "group_size": 128}, "quantization_config.bits .*is missing"),
        (AWQ | {"bits": 16}, "quantization_config.bits must be from 1 to 8"),
        (AWQ | {"zero_point": "yes"}, "quantization_config.zero_point must be true or false"),
        (AWQ | {"new_trick": 3}, "quantization_config.new_trick is not understood, got 3"),
        (
            FP8_BLOCK | {"weight_block_size": [128]},
            "weight_block_size must be two positive integers",
        ),
        (_groups(INT4) | {"ignore": ["re:(("]}, "ignore has a broken regular expression"),
        (
            _groups(INT4 | {"strategy": "tensor_group"}),
            "strategy of integers may be tensor, channel",
        ),
        (
            _groups(INT4, sparsity_config={"format": "sparse-24-bitmask"}),
            "sparsity_config.format may be dense",
        ),
        (_groups(FLOAT8 | {"num_bits": 7, "strategy": "tensor"}), "strategy of floats of 7 bits"),
        ({"quant_method": "modelopt", "quant_algo": "INT3"}, "quant_algo 'INT3' is not understood"),
        (
            {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp3"}}},
            "dtype is not understood",
        ),
        (
            {"quant_method": "torchao", "quant_type": "autoquant"},
            "quant_type 'autoquant' is not understood",
        ),
        ({"quant_method": "bitsandbytes"}, "load_in_4bit or load_in_8bit must be true"),
        ({"bits": 4, "group_size": 64, "mode": "other"}, "mode may be affine, mxfp4"),
    ],
)
def test_what_is_not_understood_is_refused(settings: Any, message: str) -> None:
    """One line that names the file and the key; a scheme can still be chosen."""
    with pytest.raises(InputError, match=message) as caught:
        _stored("mixtral-8x7b", settings)
    assert str(caught.value).startswith("c.json: ") and "\n" not in str(caught.value)
    config = {**(load_spec("mixtral-8x7b").config or {}), "quantization_config": settings}
    chosen = model_from_config(config, name="m", provenance=HERE, quantization="4bit")
    assert chosen.quantization == "4bit"
