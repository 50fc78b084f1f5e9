"""Families by test files of their own: sizes as published, states, caches, and keys that several
families share.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from hwprofiles import InputError, Kind, Provenance
from sim.model.importers import model_from_config
from sim.model.library import load_model, load_spec, save_model
from sim.model.model import Model, TensorClass
from tests.sim.family_configs import CONFIGS
from tests.sim.ling_and_grok import MODELS
from tests.sim.plain_count import plain_total

HERE = Provenance(kind=Kind.PUBLISHED, source="c.json", date="2026-01")


def _model(family: str, **changes: Any) -> Model:
    config = {**CONFIGS[family], **changes}
    return model_from_config(config, name=family, provenance=HERE, quantization=None)


@pytest.mark.parametrize(
    ("family", "total", "active"),
    [
        # llama.cpp prints 228.69 B for it; model card: 230 billion, 10 billion active
        ("minimax_m2", 228.69e9, 11.03e9),
        # llama.cpp prints 34.66 B
        ("qwen3_5_moe", 34.66e9, 3.45e9),
        # model card: 8.2 billion
        ("qwen3", 8.19e9, 8.19e9),
        # mlx-community's BF16 files: 63,155,889,408 bytes (exo-explore/exo, model cards)
        ("nemotron_h", 63_155_889_408 / 2, 3.58e9),
        # model card: 8.3 billion, 1.5 billion active (embedding tied)
        ("lfm2_moe", 8.34e9, 1.55e9),
        # model card: 32 billion, 9 billion active
        ("granitemoehybrid", 32.2e9, 8.8e9),
        # model card: 80 billion, 13 billion active
        ("hunyuan_v1_moe", 80.4e9, 12.75e9),
        # model card: 25.2 billion, 3.8 billion active
        ("gemma4", 25.2e9, 3.8e9),
        # model card at build.nvidia.com: 196.81 billion with layers for prediction, 11 billion
        # active
        ("step3p5", 196.81e9, 11.99e9),
        # model card: 284 billion, 13 billion active (embedding and head, 1.06, are counted here)
        ("deepseek_v4", 284e9, 13.8e9),
    ],
)
def test_sizes_are_those_published(family: str, total: float, active: float) -> None:
    """Total weights within 0.5 % of what is published; active ones stay as counted, cards round
    them too far to compare.
    """
    model = _model(family)
    assert model.total_params == pytest.approx(total, rel=0.005)
    assert model.active_params == pytest.approx(active, rel=0.01)


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        # model card: 16.8 billion, 2.75 billion active
        ("Ling-lite-1.5", 16.8e9, 2.75e9),
        # model card: 16 billion, 1.4 billion active; the family's arXiv report: 16.26
        ("Ling-mini-2.0", 16.26e9, 1.43e9),
        # its four files of 16 bits: 9.08 + 9.94 + 9.94 + 3.89 GB
        ("Ring-mini-linear-2.0", 32.85e9 / 2, 1.6e9),
        # model card: 104 billion, 7.4 billion active
        ("Ling-2.6-flash", 104e9, 7.45e9),
        # model card: 124 billion, 5.1 billion active without the embedding's 0.4
        ("Ling-3.0-flash", 124.4e9, 5.5e9),
        # Hugging Face counts 49 billion in its files; the card says 48 billion, 3 billion active
        ("Kimi-Linear-48B-A3B", 49.1e9, 3.48e9),
        # counted tensor by tensor in xai-org/grok-2, discussion 24, which says 115.02 active
        ("grok-2", 269_515_497_472, 114.9e9),
        # the README says 314 billion, which is 0.5 % less than its shapes sum up to
        ("grok-1", 315.7e9, 83.8e9),
    ],
)
def test_sizes_of_ling_and_grok(name: str, total: float, active: float) -> None:
    """As published, and as an independent count says: to the weight."""
    config = MODELS[name]
    model = model_from_config(config, name="m", provenance=HERE, quantization=None)
    assert model.total_params == pytest.approx(total, rel=0.005)
    assert model.active_params == pytest.approx(active, rel=0.01)
    assert model.total_params == plain_total({**config, "model_type": model.family})


def test_ling_hybrids_keep_a_matrix_a_head() -> None:
    """Lightning attention keeps 128 x 128 numbers a head, delta attention a convolution's inputs
    beside; one layer in a group caches latents.
    """
    lightning = _named("Ling-2.6-flash")
    assert lightning.layers[0].state_bytes == 4 * 32 * 128 * 128
    assert lightning.kv_bytes_per_token == 4 * (512 + 64) * 2
    delta = _named("Ling-3.0-flash")
    assert delta.layers[0].state_bytes == 4 * (32 * 128 * 128 + 3 * 3 * 4096)
    assert delta.kv_bytes_per_token == 7 * (512 + 64) * 2


def _named(name: str) -> Model:
    return model_from_config(MODELS[name], name="m", provenance=HERE, quantization=None)


def test_grok_is_known_by_its_class() -> None:
    """Where model_type is missing or another model's; a family's own name comes first."""
    assert (_named("grok-1").family, _named("grok-2").family) == ("grok", "grok")
    with pytest.raises(InputError, match="model_type is missing"):
        model_from_config({"architectures": ["X"]}, name="m", provenance=HERE)


def test_qwen3_5_keeps_a_state_and_few_keys() -> None:
    """Ten layers of forty cache keys and values; the others keep a state of 65,863,680 bytes a
    sequence together.
    """
    model = _model("qwen3_5_moe")
    assert model.kv_bytes_per_token == 20_480
    assert sum(layer.state_bytes for layer in model.layers) == 65_863_680
    assert model.left_out == ("vision_config (not a part of the text decoder)",)


def test_minimax_caches_full_keys() -> None:
    """62 layers of 8 heads of 128."""
    assert _model("minimax_m2").kv_bytes_per_token == 253_952
    assert "num_mtp_modules: 3" in _model("minimax_m2").left_out[0]


def test_minimax_m3_chooses_blocks() -> None:
    """57 of 60 layers attend to 16 blocks of 128 tokens, by one key of 128 a token of an indexer."""
    model = load_model("minimax-m3")
    indexers = [layer.attention.indexer for layer in model.layers if layer.attention]
    assert indexers[:3] == [None] * 3
    assert {(each.top_k, each.key_elements) for each in indexers[3:] if each} == {(2048, 128)}
    assert model.kv_bytes_per_token == 2 * (60 * 2 * 4 * 128 + 57 * 128)
    assert [layer.is_moe for layer in model.layers[:4]] == [False, False, False, True]


def test_gemma_3_attends_to_all_in_every_sixth_layer() -> None:
    """And ties its head, which its files do not say."""
    model = load_model("gemma-3-12b")
    windows = [layer.attention.window_tokens for layer in model.layers if layer.attention]
    assert windows == [1024, 1024, 1024, 1024, 1024, None] * 8
    assert model.is_head_tied


def test_gemma_3_files_leave_out_what_their_class_says() -> None:
    """As Google's own: of 4B neither heads nor vocabulary, of 12B no width of heads."""
    text = {"model_type": "gemma3_text", "sliding_window": 1024}
    small = {**text, "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    wide = {"num_attention_heads": 16, "num_key_value_heads": 8}
    large = {**text, "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48}
    for name, keys in (("gemma-3-4b", small), ("gemma-3-12b", {**large, **wide})):
        config = {"model_type": "gemma3", "text_config": keys}
        model = model_from_config(config, name=name, provenance=HERE)
        assert model.layers == load_model(name).layers
        assert model.total_params == load_model(name).total_params


def test_a_nemotron_layer_is_one_thing() -> None:
    """23 Mamba layers, 23 of experts without a gate, 6 of attention; each has one norm."""
    model = _model("nemotron_h")
    states = [layer for layer in model.layers if layer.state is not None]
    attending = [layer for layer in model.layers if layer.attention is not None]
    assert (len(states), len(attending), len(model.moe_layers)) == (23, 6, 23)
    assert model.expert_params == 2 * 2688 * 1856
    assert states[0].state_elements == 64 * 64 * 128
    assert states[0].state_bytes == 4 * (64 * 64 * 128 + 3 * (4096 + 2 * 8 * 128))
    assert model.kv_bytes_per_token == 6 * 2 * 2 * 128 * 2


def test_a_short_convolution_keeps_its_last_inputs() -> None:
    """LFM2: two inputs of 2048 channels in 32 bit, no recurrent state; six layers of attention."""
    model = _model("lfm2_moe")
    assert model.layers[0].attention is None
    assert model.layers[0].state_bytes == 4 * 2 * 2048
    assert model.layers[0].state_elements == 0
    assert model.kv_bytes_per_token == 6 * 2 * 8 * 64 * 2
    assert model.is_head_tied


def test_granite_shares_a_block_in_every_layer() -> None:
    """A shared expert of width 1536 beside 72 routed ones, in layers of both kinds; without experts
    it is dense.
    """
    model = _model("granitemoehybrid")
    assert model.layers[0].params[TensorClass.SHARED_EXPERT] == 3 * 4096 * 1536
    assert [layer.attention is not None for layer in model.layers].count(True) == 4
    dense = _model("granitemoehybrid", num_local_experts=0)
    assert dense.is_dense
    assert dense.layers[0].params[TensorClass.DENSE_FFN] == 3 * 4096 * 1536


def test_sparse_attention_has_an_indexer() -> None:
    """DeepSeek-V3.2 is V3 with an indexer in each layer, which keeps one key of 128 a token."""
    config = dict(load_spec("deepseek-v3").config or {})
    config |= {"model_type": "deepseek_v32", "index_n_heads": 64, "index_head_dim": 128}
    model = model_from_config(
        {**config, "index_topk": 2048}, name="m", provenance=HERE, quantization=None
    )
    indexer = 1536 * 64 * 128 + 7168 * (128 + 64) + 2 * 128
    assert model.total_params == 671_026_419_200 + 61 * indexer
    attention = model.layers[0].attention
    assert attention is not None and attention.indexer is not None
    assert attention.indexer.top_k == 2048
    with pytest.raises(InputError, match=r"key index_topk is missing"):
        model_from_config(config, name="m", provenance=HERE)


def test_layers_that_share_a_choice_have_no_indexer() -> None:
    """GLM-5.2: of 78 layers 21 choose; the others keep no keys to choose by and compare none."""
    config = dict(load_spec("glm-5").config or {})
    config |= {"index_topk_freq": 4, "index_skip_topk_offset": 3, "indexer_rope_interleave": True}
    model = model_from_config(config, name="m", provenance=HERE, quantization=None)
    indexer = 2048 * 32 * 128 + 6144 * (128 + 32) + 2 * 128
    assert load_model("glm-5").total_params - model.total_params == 57 * indexer
    indexers = [layer.attention.indexer for layer in model.layers if layer.attention]
    own = [index for index, each in enumerate(indexers) if each and each.key_elements]
    assert own == [0, 1, *range(2, 78, 4)]
    assert {each.top_k for each in indexers if each} == {2048}
    assert model.kv_bytes_per_token == 2 * (78 * 576 + 21 * 128)


def test_a_class_names_a_family_that_its_model_type_does_not() -> None:
    """Some files of DeepSeek-V4 call themselves a reference."""
    config = CONFIGS["deepseek_v4"]
    named = {**config, "model_type": "deepseek_ref", "architectures": ["DeepseekV4ForCausalLM"]}
    model = model_from_config(named, name="m", provenance=HERE)
    assert model.family == "deepseek_v4"


def test_experts_of_gemma_are_packed_though_its_dense_block_is_not() -> None:
    """Its checkpoints leave ``mlp`` wide, the dense block beside the experts; those are ``experts``."""
    settings = {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
        "exclude_modules": ["lm_head", "*.mlp*", "*.router*", "*.self_attn*"],
    }
    packed = _model("gemma4", quantization_config=settings).layers[0]
    wide = _model("gemma4").layers[0]
    assert packed.bytes[TensorClass.EXPERT] < 0.3 * wide.bytes[TensorClass.EXPERT]
    for tensor_class in (TensorClass.SHARED_EXPERT, TensorClass.ROUTER, TensorClass.ATTENTION):
        assert packed.bytes[tensor_class] == wide.bytes[tensor_class]


def test_compressed_attention_keeps_a_window_and_few_entries() -> None:
    """DeepSeek-V4: layers with a window alone, with entries of four tokens and an indexer, and of
    128 tokens.
    """
    model = _model("deepseek_v4")
    window, sparse, heavy = (model.layers[index].attention for index in (0, 2, 3))
    assert window is not None and sparse is not None and heavy is not None
    assert (window.window_tokens, window.tokens_per_entry) == (128, None)
    assert (sparse.tokens_per_entry, heavy.tokens_per_entry) == (4, 128)
    assert sparse.indexer is not None and sparse.indexer.top_k == 512
    assert heavy.indexer is None
    assert model.quantization == "fp8-mxfp4"
    # mlx-community's files of it: 155,095,760,030 bytes (exo-explore/exo, model cards)
    assert model.total_bytes == pytest.approx(155.1e9, rel=0.005)


def test_a_text_part_in_a_wrapper_is_its_own_family() -> None:
    """Kimi-K2.5 wraps a DeepSeek-V3 shape; Qwen3-VL-MoE the layers of Qwen3-MoE."""
    text = dict(load_spec("kimi-k2").config or {})
    wrapped = {"model_type": "kimi_k25", "text_config": text, "vision_config": {"hidden_size": 8}}
    model = model_from_config(wrapped, name="m", provenance=HERE)
    assert model.total_params == 1_026_408_232_448
    inner = dict(load_spec("qwen3-30b-a3b").config or {}) | {"model_type": "qwen3_vl_moe_text"}
    inner.pop("tie_word_embeddings", None)
    vision = {"model_type": "qwen3_vl_moe", "text_config": inner, "tie_word_embeddings": False}
    model = model_from_config(vision, name="m", provenance=HERE)
    assert (model.family, model.total_params) == ("qwen3_moe", 30_532_122_624)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("nemotron_h", {"hybrid_override_pattern": "MX"}, "hybrid_override_pattern may hold mamba"),
        ("nemotron_h", {"num_hidden_layers": 51}, "must be the 52 layers of the pattern, got 51"),
        ("minimax_m2", {"attn_type_list": [0] * 62}, "attn_type_list may hold 1, got 0"),
        ("hunyuan_v1_moe", {"use_cla": True}, "use_cla may be false"),
        ("hunyuan_v1_moe", {"moe_topk": [8] * 31 + [4]}, "moe_topk must be the same in all layers"),
        ("lfm2_moe", {"layer_types": ["conv"] * 23}, "one entry for each of the 24 layers, got 23"),
        (
            "lfm2_moe",
            {"tie_word_embeddings": False},
            "tie_embedding must equal tie_word_embeddings",
        ),
        ("granitemoehybrid", {"mamba_n_heads": 7}, "mamba_n_heads must divide"),
        (
            "qwen3",
            {"num_key_value_heads": 5},
            "num_key_value_heads must divide num_attention_heads",
        ),
    ],
)
def test_a_wrong_key_of_a_family_is_named(
    family: str, changes: dict[str, Any], message: str
) -> None:
    """One line that names the file, the key and the value."""
    with pytest.raises(InputError, match=message) as caught:
        _model(family, **changes)
    assert str(caught.value).startswith("c.json: key ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kda_layers": ["1", 2]}, r"kda_layers must list layers from 0 to 27, got '1'"),
        ({"full_attn_layers": [[4]]}, r"full_attn_layers must list layers from 0 to 27"),
        ({"full_attn_layers": [1, 4]}, "must name each layer from 1 to 27 once"),
    ],
)
def test_a_wrong_list_of_layers_is_named(changes: dict[str, Any], message: str) -> None:
    """Numbers as text, lists within lists and layers named twice are refused, naming the key."""
    config = MODELS["Kimi-Linear-48B-A3B"]
    section = {**config["linear_attn_config"], **changes}
    with pytest.raises(InputError, match=message):
        model_from_config({**config, "linear_attn_config": section}, name="m", provenance=HERE)


@pytest.mark.parametrize("wrong", [True, ["conv"], 2, "else", None, 1.0], ids=repr)
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("lfm2_moe", "layer_types"),
        ("granitemoehybrid", "layer_types"),
        ("minimax_m2", "attn_type_list"),
        ("deepseek_v4", "compress_ratios"),
        ("step3p5", "layer_types"),
    ],
)
def test_an_unknown_kind_of_layer_is_named(family: str, name: str, wrong: object) -> None:
    """A list of kinds takes its own numbers and words alone: neither true for 1, nor a list."""
    kinds = [wrong] * CONFIGS[family]["num_hidden_layers"]
    with pytest.raises(InputError, match=rf"c.json: key {name} may hold .*, got") as caught:
        _model(family, **{name: kinds})
    assert "\n" not in str(caught.value)


def test_an_unknown_family_is_compared_with_the_known_ones() -> None:
    """Keys that fit a family name it; a near name says which key is missing; else the page is
    named.
    """
    config = dict(load_spec("qwen3-30b-a3b").config or {})
    with pytest.raises(InputError, match="its keys fit qwen3_moe: try `family` qwen3_moe"):
        model_from_config({**config, "model_type": "qwen9_moe"}, name="m", provenance=HERE)
    config.pop("moe_intermediate_size")
    with pytest.raises(InputError, match=r"did you mean .*moe_intermediate_size is missing"):
        model_from_config({**config, "model_type": "qwen3_moee"}, name="m", provenance=HERE)
    with pytest.raises(InputError, match=r"docs/reference/models\.md lists them"):
        model_from_config({"model_type": "zzz"}, name="m", provenance=HERE)


def test_a_family_may_be_chosen(tmp_path: Path) -> None:
    """``--family`` reads a configuration as that family, of its text part too; the written file
    keeps it.
    """
    config = dict(load_spec("qwen3-30b-a3b").config or {}) | {"model_type": "other"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "w", "text_config": config}))
    path = str(tmp_path / "config.json")
    assert load_model(path, family="qwen3_moe").total_params == 30_532_122_624
    save_model(load_spec(path, family="qwen3_moe"), tmp_path / "m.yaml")
    assert load_model(str(tmp_path / "m.yaml")).family == "qwen3_moe"
    with pytest.raises(InputError, match="no model family named 'qwen33_moe'"):
        load_model(path, family="qwen33_moe")
    for other in (str(tmp_path / "m.yaml"), "mixtral-8x7b"):
        with pytest.raises(InputError, match=r"`family` is for a config\.json; m"):
            load_model(other, family="qwen3_moe")
