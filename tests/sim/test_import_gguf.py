"""Models from GGUF files: exact bytes from the tensor table, on sparse files that hold a header and
no data.
"""

import os
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwprofiles import InputError
from sim.model.importers import import_gguf, model_from_gguf
from sim.model.importers.gguf_tensors import class_of
from sim.model.library import load_model, load_spec, save_model
from sim.model.model import Indexer, Model, State, TensorClass
from sim.model.storage_types import STORAGE_TYPES
from tests.sim.gguf_files import MadeFile, TableRow

gguf = pytest.importorskip("gguf")

Row = tuple[str, tuple[int, ...], str]
"""Name, shape (the contiguous dimension last) and type of a tensor."""


def _num_bytes(shape: Sequence[int], type_name: str) -> int:
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[type_name]]
    count = 1
    for dimension in shape:
        count *= dimension
    assert shape[-1] % block == 0, "rows hold whole blocks"
    return count // int(block) * int(size)


def _write(
    path: Path, architecture: str, metadata: Mapping[str, Any], rows: Sequence[Row], **options: Any
) -> Path:
    """A sparse GGUF file of full apparent size: header and tensor table, then a hole."""
    writer = gguf.GGUFWriter(path, architecture, **options)
    for key, value in metadata.items():
        name = (
            key if key.startswith(("general.", "split.", "tokenizer.")) else f"{architecture}.{key}"
        )
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_uint32(name, value)
    for name, shape, type_name in rows:
        writer.add_tensor_info(
            name, shape, None, _num_bytes(shape, type_name), gguf.GGMLQuantizationType[type_name]
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    parts = [file.name for file in writer.fout or []]
    writer.close()
    for part, tensors in zip(parts, writer.tensors, strict=True):
        padded = sum(-(-info.nbytes // 32) * 32 for info in tensors.values())
        header = -(-os.path.getsize(part) // 32) * 32
        os.truncate(part, header + padded)
    return path


MIXTRAL = {
    "general.name": "Mixtral 8x7B",
    "block_count": 32,
    "context_length": 32768,
    "embedding_length": 4096,
    "feed_forward_length": 14336,
    "attention.head_count": 32,
    "attention.head_count_kv": 8,
    "expert_count": 8,
    "expert_used_count": 2,
    "vocab_size": 32000,
    "tokenizer.ggml.model": "no_vocab",
}


def _mixtral_rows(
    wide: str,
    expert_types: Mapping[str, str],
    first_layer_type: str | None = None,
    num_layers: int = 32,
) -> list[Row]:
    rows: list[Row] = [
        ("token_embd.weight", (32000, 4096), wide),
        ("output_norm.weight", (4096,), "F32"),
        ("output.weight", (32000, 4096), wide),
    ]
    for index in range(num_layers):
        block = f"blk.{index}."
        rows += [(f"{block}{name}_norm.weight", (4096,), "F32") for name in ("attn", "ffn")]
        rows += [(f"{block}attn_{name}.weight", (4096, 4096), wide) for name in ("q", "output")]
        rows += [(f"{block}attn_{name}.weight", (1024, 4096), wide) for name in ("k", "v")]
        rows.append((f"{block}ffn_gate_inp.weight", (8, 4096), "F32"))
        for name, shape in (
            ("gate", (8, 14336, 4096)),
            ("up", (8, 14336, 4096)),
            ("down", (8, 4096, 14336)),
        ):
            kind = first_layer_type if first_layer_type and index == 0 else expert_types[name]
            rows.append((f"{block}ffn_{name}_exps.weight", shape, kind))
    return rows


F16 = {"gate": "F16", "up": "F16", "down": "F16"}


@pytest.fixture(scope="module")
def mixtral_f16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse file with all of Mixtral-8x7B's tensors, 87 GiB apparent."""
    return _write(
        tmp_path_factory.mktemp("gguf") / "mixtral.gguf",
        "llama",
        MIXTRAL,
        _mixtral_rows("F16", F16),
    )


def test_mixtral_equals_the_shipped_model(mixtral_f16: Path) -> None:
    """Weights by class, attention and routing equal those of the configuration; norms and routers
    are 4 bytes wide here.
    """
    model, shipped = model_from_gguf(mixtral_f16), load_model("mixtral-8x7b")
    assert os.path.getsize(mixtral_f16) > 90e9
    assert mixtral_f16.stat().st_blocks * 512 < 10**6
    assert model.total_params == 46_702_792_704
    assert model.expert_bytes == 352_321_536
    assert [layer.params for layer in model.layers] == [layer.params for layer in shipped.layers]
    assert [layer.attention for layer in model.layers] == [
        layer.attention for layer in shipped.layers
    ]
    assert (model.num_experts, model.top_k, model.moe_layers) == (8, 2, tuple(range(32)))
    assert model.top_params == shipped.top_params
    wide = (
        sum(
            layer.params[TensorClass.NORM] + layer.params[TensorClass.ROUTER]
            for layer in model.layers
        )
        + 4096
    )
    assert model.total_bytes == 2 * 46_702_792_704 + 2 * wide
    assert (model.hidden, model.vocab, model.expert_intermediate, model.max_context_tokens) == (
        4096,
        32000,
        14336,
        32768,
    )
    assert (model.name, model.family, model.quantization) == ("Mixtral 8x7B", "llama", "gguf")
    assert not model.is_head_tied


def test_the_library_loads_requantises_and_saves_it(mixtral_f16: Path, tmp_path: Path) -> None:
    """load_model reads it; a scheme replaces its bytes; its model file round-trips."""
    model = load_model(str(mixtral_f16))
    in_scheme = load_model(str(mixtral_f16), "4bit-experts")
    assert in_scheme.expert_bytes == 176_160_768 * 144 // 256
    assert in_scheme.quantization == "4bit-experts"
    save_model(load_spec(str(mixtral_f16)), tmp_path / "mixtral.yaml")
    assert load_model(str(tmp_path / "mixtral.yaml")) == model


def test_types_mixed_between_and_within_layers_are_added_up(tmp_path: Path) -> None:
    """Bytes follow each tensor's own type; dtypes names the type that holds most bytes."""
    types = {"gate": "Q4_K", "up": "Q4_K", "down": "Q6_K"}
    rows = _mixtral_rows("Q8_0", types, first_layer_type="IQ4_XS", num_layers=3)
    model = model_from_gguf(
        _write(tmp_path / "mixed.gguf", "llama", {**MIXTRAL, "block_count": 3}, rows)
    )
    matrix = 4096 * 14336
    assert model.layers[0].expert_bytes == 3 * matrix * 136 // 256
    assert (
        model.layers[1].expert_bytes
        == model.layers[2].expert_bytes
        == 2 * matrix * 144 // 256 + matrix * 210 // 256
    )
    assert model.layers[0].params == model.layers[1].params
    assert (
        model.layers[0].bytes[TensorClass.ATTENTION]
        == (2 * 4096 * 4096 + 2 * 4096 * 1024) * 34 // 32
    )
    assert model.total_bytes == sum(_num_bytes(shape, kind) for _, shape, kind in rows)
    assert model.dtypes[TensorClass.EXPERT] == "q4_k"
    assert model.dtypes[TensorClass.ATTENTION] == "q8_0"


def test_experts_in_separate_tensors_are_one_class(tmp_path: Path) -> None:
    """Old files hold a tensor an expert; a layer's experts count the same."""
    rows = [row for row in _mixtral_rows("F16", F16, num_layers=1) if "_exps" not in row[0]]
    for expert in range(8):
        rows += [
            (f"blk.0.ffn_{name}.{expert}.weight", (14336, 4096), "F16") for name in ("gate", "up")
        ]
        rows.append((f"blk.0.ffn_down.{expert}.weight", (4096, 14336), "F16"))
    model = model_from_gguf(
        _write(tmp_path / "old.gguf", "llama", {**MIXTRAL, "block_count": 1}, rows)
    )
    assert model.expert_bytes == 352_321_536
    assert model.expert_intermediate == 14336


def test_a_dense_file_has_no_experts(tmp_path: Path) -> None:
    """Without expert tensors nothing is asked about experts; the feed-forward block counts whole."""
    rows = [
        row
        for row in _mixtral_rows("F16", F16, num_layers=1)
        if "_exps" not in row[0] and "gate_inp" not in row[0]
    ]
    rows += [(f"blk.0.ffn_{name}.weight", (14336, 4096), "F16") for name in ("gate", "up")]
    rows.append(("blk.0.ffn_down.weight", (4096, 14336), "F16"))
    metadata = {key: value for key, value in MIXTRAL.items() if not key.startswith("expert_")} | {
        "block_count": 1
    }
    model = model_from_gguf(_write(tmp_path / "dense.gguf", "llama", metadata, rows))
    assert model.is_dense and (model.expert_intermediate, model.num_experts) == (0, 0)
    assert model.layers[0].params[TensorClass.DENSE_FFN] == 3 * 4096 * 14336
    assert model.layers[0].attention == load_model("llama-3.1-8b").layers[0].attention


def test_a_missing_head_is_tied(tmp_path: Path) -> None:
    """Without output.weight the embedding is the head."""
    rows = [row for row in _mixtral_rows("F16", F16, num_layers=1) if row[0] != "output.weight"]
    model = model_from_gguf(
        _write(tmp_path / "tied.gguf", "llama", {**MIXTRAL, "block_count": 1}, rows)
    )
    assert model.is_head_tied
    assert TensorClass.HEAD not in model.top_params


def _small(extra: Mapping[str, Any], num_layers: int = 4) -> dict[str, Any]:
    base = {
        "block_count": num_layers,
        "context_length": 4096,
        "embedding_length": 64,
        "feed_forward_length": 128,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "expert_count": 4,
        "expert_used_count": 2,
    }
    return {**base, **extra}


def _small_rows(num_layers: int, num_dense: int = 0, more: Sequence[Row] = ()) -> list[Row]:
    rows: list[Row] = [
        ("token_embd.weight", (100, 64), "F16"),
        ("output_norm.weight", (64,), "F32"),
    ]
    for index in range(num_layers):
        block = f"blk.{index}."
        rows += [
            (f"{block}attn_norm.weight", (64,), "F32"),
            (f"{block}attn_q.weight", (64, 64), "F16"),
        ]
        if index < num_dense:
            rows += [(f"{block}ffn_{name}.weight", (128, 64), "F16") for name in ("gate", "up")]
        else:
            rows += [
                (f"{block}ffn_gate_up_exps.weight", (4, 64, 64), "Q8_0"),
                (f"{block}ffn_down_exps.weight", (4, 64, 32), "Q8_0"),
            ]
    return [*rows, *more]


def test_latent_attention_caches_the_latent(tmp_path: Path) -> None:
    """With kv_lora_rank a token leaves latent and rotary key; the leading dense layer has no
    experts; shared ones are a class.
    """
    metadata = _small(
        {
            "attention.kv_lora_rank": 32,
            "rope.dimension_count": 8,
            "attention.key_length": 40,
            "leading_dense_block_count": 1,
        }
    )
    shared = [
        ("blk.1.ffn_gate_shexp.weight", (32, 64), "F16"),
        ("blk.1.exp_probs_b.bias", (4,), "F32"),
        ("blk.1.attn_kv_a_norm.weight", (32,), "F32"),
    ]
    model = model_from_gguf(
        _write(tmp_path / "mla.gguf", "deepseek2", metadata, _small_rows(4, 1, shared))
    )
    attention = model.layers[0].attention
    assert (
        attention.kv_elements_per_token,
        attention.score_elements,
        attention.value_elements,
    ) == (40, 4 * 40, 4 * 32)
    assert model.moe_layers == (1, 2, 3)
    assert model.layers[0].params[TensorClass.DENSE_FFN] == 2 * 128 * 64
    assert model.layers[1].bytes[TensorClass.SHARED_EXPERT] == 32 * 64 * 2
    assert model.layers[1].params[TensorClass.ROUTER] == 4
    assert model.layers[1].params[TensorClass.NORM] == 64 + 32
    assert model.expert_intermediate == 32


def test_metadata_may_differ_between_layers(tmp_path: Path) -> None:
    """Arrays a layer of KV heads and of window flags are followed; recurrent layers cache nothing."""
    metadata = _small(
        {
            "attention.head_count_kv": [1, 2, 4, 2],
            "attention.key_length": 16,
            "attention.value_length": 8,
            "attention.sliding_window": 512,
        }
    )
    metadata["attention.sliding_window_pattern"] = [True, False, True, False]
    recurrent = [("blk.3.ssm_a", (64,), "F32")]
    model = model_from_gguf(
        _write(tmp_path / "layers.gguf", "newmoe", metadata, _small_rows(4, more=recurrent))
    )
    assert [layer.kv_elements(1) for layer in model.layers] == [24, 48, 96, 0]
    assert [layer.attention and layer.attention.window_tokens for layer in model.layers] == [
        512,
        None,
        512,
        None,
    ]


def test_recurrent_layers_keep_a_state(tmp_path: Path) -> None:
    """State and convolution in 32 bit, as llama.cpp allocates them; 0 where the file states no
    sizes.
    """
    sizes = {
        "ssm.inner_size": 64,
        "ssm.state_size": 16,
        "ssm.group_count": 2,
        "ssm.conv_kernel": 4,
        "ssm.time_step_rank": 4,
    }
    rows = _small_rows(4, more=[("blk.1.ssm_a", (4,), "F32")])
    layer = model_from_gguf(
        _write(tmp_path / "state.gguf", "qwen3next", _small(sizes), rows)
    ).layers[1]
    assert layer.attention is None
    assert layer.state == State(elements=64 * 16, bytes=4 * (64 * 16 + 3 * (64 + 2 * 2 * 16)))
    assert (
        model_from_gguf(_write(tmp_path / "none.gguf", "other", _small({}), rows))
        .layers[1]
        .state_bytes
        == 0
    )


@pytest.mark.parametrize(
    ("architecture", "extra", "windows"),
    [
        ("gpt-oss", {"attention.sliding_window": 128}, [128, None, 128, None]),
        ("llama4", {"context_length": 65536}, [8192, 8192, 8192, None]),
        (
            "other",
            {"attention.sliding_window": 128, "attention.sliding_window_pattern": 4},
            [128, 128, 128, None],
        ),
        ("other", {"attention.sliding_window": 128}, [128] * 4),
        ("other", {"attention.sliding_window": 4096}, [None] * 4),
    ],
)
def test_windows_by_architecture(
    architecture: str, extra: Mapping[str, Any], windows: list[int | None], tmp_path: Path
) -> None:
    """Periods that llama.cpp hard-codes or the file states; a window as long as the context is
    none.
    """
    model = model_from_gguf(
        _write(tmp_path / "windows.gguf", architecture, _small(extra), _small_rows(4))
    )
    assert [layer.attention.window_tokens for layer in model.layers] == windows


def test_layers_for_token_prediction_are_left_out(tmp_path: Path) -> None:
    """The last nextn_predict_layers of block_count are no decoder layers."""
    metadata = _small({"nextn_predict_layers": 1}, num_layers=5)
    model = model_from_gguf(_write(tmp_path / "mtp.gguf", "glm4moe", metadata, _small_rows(5)))
    assert model == replace(
        model_from_gguf(_write(tmp_path / "plain.gguf", "glm4moe", _small({}), _small_rows(4))),
        name="mtp",
        provenance=model.provenance,
    )


def test_a_split_model_is_read_as_one(tmp_path: Path) -> None:
    """Any part of a split model loads the whole; a missing part is named."""
    whole = model_from_gguf(
        _write(tmp_path / "whole.gguf", "newmoe", _small({"general.name": "m"}), _small_rows(4))
    )
    _write(
        tmp_path / "m.gguf",
        "newmoe",
        _small({"general.name": "m"}),
        _small_rows(4),
        split_max_tensors=6,
    )
    parts = sorted(tmp_path.glob("m-*.gguf"))
    assert len(parts) > 1
    for part in parts:
        assert replace(model_from_gguf(part), provenance=whole.provenance) == whole
    parts[-1].unlink()
    with pytest.raises(InputError, match=f"part {parts[-1].name} of the split model is missing"):
        model_from_gguf(parts[0])


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    """Cut anywhere in the header or the table, a file is refused in one line that names it."""
    path = _write(tmp_path / "cut.gguf", "newmoe", _small({}), _small_rows(4))
    content = path.read_bytes()
    for size in [0, 3, 4, 10, 24, 100, 300, 700, 1500]:
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"cut\.gguf: truncated") as caught:
            model_from_gguf(path)
        assert "\n" not in str(caught.value)


def test_data_may_be_missing(tmp_path: Path) -> None:
    """A file with its header whole is read; how much of its data is not there is said."""
    path = _write(tmp_path / "cut.gguf", "newmoe", _small({}), _small_rows(4))
    whole = import_gguf(path)
    content = path.read_bytes()
    assert whole.missing_bytes == 0
    for missing in (64, whole.model.total_bytes // 2, whole.model.total_bytes):
        path.write_bytes(content[: len(content) - missing])
        assert import_gguf(path).missing_bytes == missing
        assert model_from_gguf(path).total_bytes == whole.model.total_bytes


def test_other_files_are_one_line(tmp_path: Path) -> None:
    """Text, noise, or a folder under that name is refused in one line."""
    path = tmp_path / "not.gguf"
    for content in (
        b"format: rosin-model/1\n" * 20,
        b"version: 1\n",
        bytes(range(256)) * 16,
        b"GGUF" + b"\xff" * 400,
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a GGUF file") as caught:
            load_model(str(path))
        assert "\n" not in str(caught.value)
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(InputError, match="cannot read GGUF file"):
        load_model(str(tmp_path / "folder.gguf"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("expert_count", None, "metadata key newmoe.expert_count is missing"),
        ("expert_used_count", None, "metadata key newmoe.expert_used_count is missing"),
        ("block_count", None, "metadata key newmoe.block_count is missing"),
        ("block_count", 9, "no tensors of layer 4 \\(of 9\\)"),
        (
            "embedding_length",
            0,
            "metadata key newmoe.embedding_length must be a positive integer, got 0",
        ),
        (
            "context_length",
            "long",
            "metadata key newmoe.context_length must be a positive integer, got 'long'",
        ),
    ],
)
def test_a_missing_or_wrong_key_is_named(
    key: str, value: Any, message: str, tmp_path: Path
) -> None:
    """Metadata that decides sizes is never guessed."""
    metadata = {name: item for name, item in {**_small({}), key: value}.items() if item is not None}
    with pytest.raises(InputError, match=message):
        model_from_gguf(_write(tmp_path / "keys.gguf", "newmoe", metadata, _small_rows(4)))


@pytest.mark.parametrize(
    ("name", "tensor_class"),
    [
        ("token_embd.weight", TensorClass.EMBEDDING),
        ("per_layer_token_embd.weight", TensorClass.LOOKUP),
        ("output.weight", TensorClass.HEAD),
        ("output_norm.weight", TensorClass.NORM),
        ("rope_freqs.weight", TensorClass.NORM),
        ("blk.3.attn_norm.weight", TensorClass.NORM),
        ("blk.3.attn_q_a_norm.weight", TensorClass.NORM),
        ("blk.3.post_attention_norm.weight", TensorClass.NORM),
        ("blk.3.ffn_norm.weight", TensorClass.NORM),
        ("blk.3.attn_output.bias", TensorClass.ATTENTION),
        ("blk.3.attn_sinks.weight", TensorClass.ATTENTION),
        ("blk.3.attn_kv_a_mqa.weight", TensorClass.ATTENTION),
        ("blk.3.ssm_conv1d.weight", TensorClass.ATTENTION),
        ("blk.3.ffn_gate_inp.weight", TensorClass.ROUTER),
        ("blk.3.exp_probs_b.bias", TensorClass.ROUTER),
        ("blk.3.ffn_gate_inp_shexp.weight", TensorClass.SHARED_EXPERT),
        ("blk.3.ffn_down_shexp.weight", TensorClass.SHARED_EXPERT),
        ("blk.3.ffn_gate_up_exps.weight", TensorClass.EXPERT),
        ("blk.3.ffn_down_exps.bias", TensorClass.EXPERT),
        ("blk.3.ffn_up_chexps.weight", TensorClass.EXPERT),
        ("blk.3.ffn_down.5.weight", TensorClass.EXPERT),
        ("blk.3.ffn_down.weight", TensorClass.DENSE_FFN),
    ],
)
def test_tensor_names_sort_into_classes(name: str, tensor_class: TensorClass) -> None:
    """Names that llama.cpp gives to tensors."""
    assert class_of(name) is tensor_class


def _one_layer(
    metadata: Mapping[str, Any],
    names: Sequence[str],
    architecture: str,
    path: Path,
    num_layers: int = 1,
) -> Model:
    """A model whose layers have those tensors besides norms and experts."""
    rows = [row for row in _small_rows(num_layers) if "attn_q" not in row[0]]
    rows += [
        (f"blk.{index}.{name}", (64, 64), "F16") for index in range(num_layers) for name in names
    ]
    return model_from_gguf(_write(path, architecture, _small(metadata, num_layers), rows))


def test_a_short_convolution_is_no_attention(tmp_path: Path) -> None:
    """Its last inputs are its state; nothing is attended to and no KV kept."""
    names = ["shortconv.in_proj.weight", "shortconv.conv.weight", "shortconv.out_proj.weight"]
    metadata = {"shortconv.l_cache": 3, "attention.head_count_kv": [0]}
    layer = _one_layer(metadata, names, "lfm2moe", tmp_path / "conv.gguf").layers[0]
    assert layer.attention is None and layer.kv_elements(1000) == 0
    assert layer.state == State(elements=0, bytes=4 * 64 * 2)
    with pytest.raises(InputError, match=r"lfm2moe\.shortconv\.l_cache is missing"):
        _one_layer({"attention.head_count_kv": [0]}, names, "lfm2moe", tmp_path / "conv.gguf")


def test_a_layer_without_attention_has_none(tmp_path: Path) -> None:
    """Experts alone, whatever the count of heads says; and attention without KV heads, as NAS
    models have it, are weights.
    """
    experts = _one_layer({}, [], "nemotron_h_moe", tmp_path / "none.gguf").layers[0]
    assert experts.attention is None and experts.state is None and not experts.has_mixer
    linear = _one_layer(
        {"attention.head_count_kv": [0]}, ["attn_output.weight"], "deci", tmp_path / "linear.gguf"
    ).layers[0]
    assert linear.attention is None and linear.has_mixer
    assert linear.params[TensorClass.ATTENTION] == 64 * 64


def test_attention_may_stand_beside_a_state(tmp_path: Path) -> None:
    """A layer with an output projection of its own attends, as in Falcon-H1; queries and keys of a
    delta net do not.
    """
    sizes = {"ssm.inner_size": 64, "ssm.state_size": 16, "ssm.conv_kernel": 4}
    both = _one_layer(
        sizes,
        ["ssm_in.weight", "attn_q.weight", "attn_output.weight"],
        "falcon-h1",
        tmp_path / "both.gguf",
    ).layers[0]
    assert both.attention is not None and both.state_elements == 64 * 16
    delta = _one_layer(
        sizes,
        ["ssm_in.weight", "attn_qkv.weight", "attn_gate.weight"],
        "qwen3next",
        tmp_path / "delta.gguf",
    ).layers[0]
    assert delta.attention is None and delta.state_elements == 64 * 16


def test_other_states(tmp_path: Path) -> None:
    """Kimi's delta attention by its head dimension, RWKV by its heads: n_embd_s and n_embd_r of
    llama.cpp's hparams.
    """
    kimi = {"kda.head_dim": 16, "ssm.conv_kernel": 4, "attention.head_count_kv": [0]}
    layer = _one_layer(
        kimi,
        ["ssm_beta.weight", "attn_q.weight", "attn_output.weight"],
        "kimi-linear",
        tmp_path / "kda.gguf",
    ).layers[0]
    assert layer.attention is None
    assert layer.state == State(elements=4 * 16 * 16, bytes=4 * (4 * 16 * 16 + 3 * 3 * 4 * 16))
    layer = _one_layer(
        {"wkv.head_size": 16, "token_shift_count": 2},
        ["time_mix_output.weight"],
        "rwkv7",
        tmp_path / "wkv.gguf",
    ).layers[0]
    assert layer.attention is None
    assert layer.state == State(elements=64 * 16, bytes=4 * (64 * 16 + 2 * 64))


COMPRESSED = {
    "attention.head_count_kv": 1,
    "attention.key_length": 16,
    "attention.value_length": 16,
    "attention.sliding_window": 8,
    "attention.compress_ratios": [0, 4, 128, 4],
    "attention.indexer.head_count": 2,
    "attention.indexer.key_length": 8,
    "attention.indexer.top_k": 32,
}


def test_compressed_attention_keeps_windows_and_entries(tmp_path: Path) -> None:
    """Keys that are values too are kept once; one of 4 tokens has a key of the indexer, one of 128
    has none.
    """
    names = ["attn_q_a.weight", "attn_kv.weight", "attn_output_a.weight"]
    model = _one_layer(COMPRESSED, names, "deepseek4", tmp_path / "dsv4.gguf", num_layers=4)
    assert [layer.attention and layer.attention.tokens_per_entry for layer in model.layers] == [
        None,
        4,
        128,
        4,
    ]
    assert [layer.kv_elements(1024) for layer in model.layers] == [
        8 * 16,
        8 * 16 + 256 * (16 + 8),
        8 * 16 + 8 * 16,
        8 * 16 + 256 * 24,
    ]
    assert model.kv_bytes_per_token == round(2 * (2 * 24 / 4 + 16 / 128))
    first = model.layers[1].attention
    assert first is not None and (first.score_elements, first.value_elements) == (64, 64)
    assert first.indexer == Indexer(top_k=32, key_elements=8, score_elements=16)


def test_an_indexer_chooses_among_latents(tmp_path: Path) -> None:
    """DeepSeek-V3.2: every token has a latent, a rotary key and a key of the indexer; a query looks
    at the chosen ones.
    """
    metadata = {
        key: value
        for key, value in COMPRESSED.items()
        if "compress" not in key and "window" not in key
    }
    metadata |= {"attention.kv_lora_rank": 32, "rope.dimension_count": 8}
    layer = _one_layer(
        metadata,
        ["attn_kv_a_mqa.weight", "attn_output.weight"],
        "deepseek32",
        tmp_path / "dsa.gguf",
    ).layers[0]
    assert layer.kv_elements(100) == 100 * (32 + 8 + 8)
    seen = layer.pair_elements_per_token(np.array([999.0]), np.array([1000.0]))
    assert seen == 32 * 4 * (40 + 32) + 1000 * 16


def test_windowed_layers_may_have_their_own_heads(tmp_path: Path) -> None:
    """``key_length_swa`` and ``value_length_swa`` hold where a window does; flags may be numbers;
    the last layers may share a cache.
    """
    metadata = {
        "attention.head_count_kv": [2, 1, 2, 1],
        "attention.key_length": 32,
        "attention.value_length": 32,
        "attention.key_length_swa": 16,
        "attention.value_length_swa": 8,
        "attention.sliding_window": 10,
        "attention.sliding_window_pattern": [1, 0, 1, 0],
        "attention.shared_kv_layers": 1,
    }
    model = _one_layer(metadata, ["attn_q.weight"], "gemma4", tmp_path / "swa.gguf", num_layers=4)
    assert [layer.kv_elements(100) for layer in model.layers] == [
        10 * 2 * 24,
        100 * 64,
        10 * 2 * 24,
        0,
    ]
    last = model.layers[3].elements_read(np.array([99.0]), np.array([100.0]))
    assert last == 100 * 64, "it reads the cache of an earlier layer"


@pytest.mark.parametrize(
    ("architecture", "extra", "key"),
    [
        ("newmoe", {"attention.new_trick": 3}, "newmoe.attention.new_trick is not understood"),
        (
            "newmoe",
            {"attention.indexer.block_size": 3},
            "newmoe.attention.indexer.block_size is not understood",
        ),
        ("newmoe", {"ssm.heads": 3}, "newmoe.ssm.heads is not understood"),
        ("newmoe", {"shortconv.width": 3}, "newmoe.shortconv.width is not understood"),
        (
            "qwen4exp",
            {"attention.compress_ratios": [4] * 4},
            "qwen4exp.attention.compress_ratios is understood in deepseek4 only",
        ),
        (
            "minimax-m3",
            {"attention.indexer.top_k": 16},
            "minimax-m3.attention.indexer.top_k is understood in latent attention",
        ),
        (
            "newmoe",
            {"attention.head_count_kv": [2, 2]},
            "newmoe.attention.head_count_kv must have a value for each layer, has 2",
        ),
        (
            "newmoe",
            {"expert_count": 5},
            "newmoe.expert_count is 5, but tensor blk.0.ffn_gate_up_exps.weight is of 4 experts",
        ),
        (
            "newmoe",
            {"expert_used_count": 5},
            "newmoe.expert_used_count must be at most expert_count, got 5 > 4",
        ),
        (
            "newmoe",
            {"block_count": 2},
            r"tensor blk.2.attn_norm.weight is of layer 2, but newmoe.block_count is 2",
        ),
        ("newmoe", {"block_count": 4_000_000_000}, "newmoe.block_count must be at most 10000"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    architecture: str, extra: Mapping[str, Any], key: str, tmp_path: Path
) -> None:
    """A key that may change cost or KV cache, or that contradicts the table, is never passed over."""
    with pytest.raises(InputError, match=key):
        model_from_gguf(_write(tmp_path / "keys.gguf", architecture, _small(extra), _small_rows(4)))


def test_harmless_keys_change_nothing(tmp_path: Path) -> None:
    """Scales, norms and rotations are named in a list and passed over."""
    extra = {
        "attention.scale": 2,
        "attention.layer_norm_rms_epsilon": 1,
        "attention.output_scale": 3,
        "rope.scaling.factor": 8,
    }
    plain = model_from_gguf(_write(tmp_path / "m.gguf", "newmoe", _small({}), _small_rows(4)))
    assert (
        model_from_gguf(_write(tmp_path / "m.gguf", "newmoe", _small(extra), _small_rows(4)))
        == plain
    )


def test_lookup_tables_are_counted_apart(tmp_path: Path) -> None:
    """Of embeddings by layer and of n-grams a token reads rows: they are weights, neither active
    nor on the GPU.
    """
    tables = [
        ("per_layer_token_embd.weight", (100, 256), "Q8_0"),
        ("ple_ngram_embd.0.weight", (1000, 32), "F16"),
        ("blk.1.ffn_gate_tid2eid.weight", (100, 2), "I32"),
    ]
    plain = model_from_gguf(_write(tmp_path / "m.gguf", "newmoe", _small({}), _small_rows(4)))
    model = model_from_gguf(
        _write(tmp_path / "m.gguf", "newmoe", _small({}), _small_rows(4, more=tables))
    )
    assert model.top_params[TensorClass.LOOKUP] == 100 * 256 + 1000 * 32 + 200
    assert model.total_params - plain.total_params == model.top_params[TensorClass.LOOKUP]
    assert (model.active_params, model.head_bytes, model.layers) == (
        plain.active_params,
        plain.head_bytes,
        plain.layers,
    )


def test_prediction_layers_are_named_and_counted_apart(tmp_path: Path) -> None:
    """What decoding does not run is said, with its weights and bytes: layers of their own, and
    tensors inside a layer.
    """
    rows = _small_rows(5, more=[("blk.3.nextn.eh_proj.weight", (64, 128), "F16")])
    found = import_gguf(
        _write(
            tmp_path / "mtp.gguf",
            "glm4moe",
            _small({"nextn_predict_layers": 1}, num_layers=5),
            rows,
        )
    )
    params = 64 * 128 + sum(prod(shape) for name, shape, _ in rows if name.startswith("blk.4."))
    assert found.ignored[0].what == "multi-token prediction, layers 3 to 4: not run in decode"
    assert (found.ignored[0].params, found.model.num_layers) == (params, 4)


@pytest.mark.parametrize(
    ("kind", "num_bytes"),
    [
        (139, 16 * 144),
        (144, 8 * (2 * 136 + 4)),
        (156, 8 * (2 * 102 + 2)),
        (158, 8 * (2 * 56 + 4)),
        (212, 16 * 144),
        (398, 8 * (512 + 4)),
    ],
)
def test_types_of_ik_llama_cpp(kind: int, num_bytes: int, tmp_path: Path) -> None:
    """Blocks of 256 weights and, in some types, a scale of each row; 8 rows of 512 weights."""
    metadata = {"general.architecture": "newmoe"} | {
        f"newmoe.{key}": value for key, value in _small({}, num_layers=1).items()
    }
    rows = (
        TableRow("token_embd.weight", (64, 100)),
        TableRow("blk.0.attn_q.weight", (512, 8), kind),
    )
    (tmp_path / "ik.gguf").write_bytes(MadeFile(metadata=metadata, rows=rows).content())
    layer = model_from_gguf(tmp_path / "ik.gguf").layers[0]
    assert layer.bytes[TensorClass.ATTENTION] == num_bytes


def test_sizes_of_llama_cpp_types_are_those_of_its_own_package() -> None:
    """Blocks and bytes by type number equal the gguf package's, but for a type that no file holds."""
    for kind, (block, num_bytes) in gguf.GGML_QUANT_SIZES.items():
        stored = STORAGE_TYPES[int(kind)]
        assert stored.name == kind.name.lower()
        assert stored.name == "q8_1" or (stored.block, stored.num_bytes, stored.row_bytes) == (
            block,
            num_bytes,
            0,
        )


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (-64, "has a negative offset, -64"),
        (3, "must begin at a multiple of 32, got 3"),
        (0, "inside another"),
    ],
)
def test_offsets_that_cannot_be_are_refused(offset: int, message: str, tmp_path: Path) -> None:
    """A tensor lies behind the header, aligned, and in nobody's place."""
    metadata = {"general.architecture": "newmoe"} | {
        f"newmoe.{key}": value for key, value in _small({}, num_layers=1).items()
    }
    rows = (
        TableRow("token_embd.weight", (64, 100)),
        TableRow("blk.0.attn_q.weight", (64, 64), offset=offset),
    )
    (tmp_path / "off.gguf").write_bytes(MadeFile(metadata=metadata, rows=rows).content())
    with pytest.raises(InputError, match=message):
        model_from_gguf(tmp_path / "off.gguf")


def test_only_the_header_is_read(tmp_path: Path) -> None:
    """A vocabulary of 150,000 tokens is passed over and a large hole never touched: memory stays
    that of the header.
    """
    metadata = {
        "general.architecture": "newmoe",
        "tokenizer.ggml.tokens": [f"token{index}" for index in range(150_000)],
    }
    metadata |= {f"newmoe.{key}": value for key, value in _small({}, num_layers=1).items()}
    rows = (
        TableRow("token_embd.weight", (64, 100)),
        TableRow("blk.0.attn_q.weight", (2**17, 2**18), 2),
    )
    path = tmp_path / "large.gguf"
    path.write_bytes(MadeFile(metadata=metadata, rows=rows).content())
    os.truncate(path, 20 * 10**9)
    tracemalloc.start()
    found = import_gguf(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.missing_bytes == 0 and found.model.total_bytes > 19 * 10**9
    assert peak < 2 * 10**6


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    """A clone without the large files has a few lines of text in place of each."""
    path = tmp_path / "model.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 18556686912\n")
    with pytest.raises(InputError, match="a pointer of Git LFS"):
        import_gguf(path)
