"""Models from Hugging Face configurations: weights of each class, conventions of each family, and
errors.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from hwprofiles import InputError, Kind, Provenance
from sim.model.importers import model_from_config, native_quantization
from sim.model.importers.families import FAMILIES
from sim.model.library import load_spec, model_names
from sim.model.model import Model, TensorClass

HERE = Provenance(kind=Kind.PUBLISHED, source="some/config.json", date="2026-01")


def _config(name: str, **changes: Any) -> Mapping[str, Any]:
    """The configuration of a shipped model with keys changed, or dropped where the new value is
    None.
    """
    config = dict(load_spec(name).config or {})
    if "text_config" in config:
        return {**config, "text_config": {**config["text_config"], **changes}}
    return {**config, **changes}


def _model(name: str, **changes: Any) -> Model:
    return model_from_config(_config(name, **changes), name=name, provenance=HERE)


def test_each_shipped_model_is_of_a_family() -> None:
    """Every shipped configuration imports; families without a shipped model are in
    tests/sim/test_families.py.
    """
    assert {_model(name).family for name in model_names()} <= set(FAMILIES)


def test_qwen2_moe_counts_biases_and_the_shared_gate() -> None:
    """Qwen1.5-MoE: biases on queries, keys and values only; a shared expert of width 5632 with its
    gate.
    """
    params = _model("qwen1.5-moe-a2.7b").layers[0].params
    assert params == {
        TensorClass.NORM: 2 * 2048,
        TensorClass.ATTENTION: 4 * 2048 * 2048 + 3 * 2048,
        TensorClass.ROUTER: 60 * 2048,
        TensorClass.SHARED_EXPERT: 3 * 2048 * 5632 + 2048,
        TensorClass.EXPERT: 3 * 2048 * 1408,
    }


def test_qwen3_moe_counts_query_and_key_norms() -> None:
    """Qwen3: one norm vector of head_dim each, heads wider than hidden_size, no biases."""
    params = _model("qwen3-30b-a3b").layers[0].params
    assert params[TensorClass.NORM] == 2 * 2048 + 2 * 128
    assert params[TensorClass.ATTENTION] == 2 * 2048 * 32 * 128 + 2 * 2048 * 4 * 128


def test_olmoe_norms_run_over_all_heads() -> None:
    """OLMoE: query and key norms over the whole projection."""
    assert _model("olmoe-1b-7b").layers[0].params[TensorClass.NORM] == 4 * 2048


def test_gpt_oss_counts_sinks_and_all_biases() -> None:
    """gpt-oss: four biased projections, a sink a head, a router bias, and three biases in each
    expert.
    """
    params = _model("gpt-oss-20b").layers[0].params
    query, key_value = 64 * 64, 2 * 8 * 64
    assert (
        params[TensorClass.ATTENTION]
        == 2 * 2880 * query + 2880 * key_value + query + key_value + 2880 + 64
    )
    assert params[TensorClass.ROUTER] == 32 * 2880 + 32
    assert params[TensorClass.EXPERT] == 3 * 2880 * 2880 + 3 * 2880


def test_phimoe_counts_biased_norms_attention_and_head() -> None:
    """Phi-3.5-MoE: layer norms with bias, four biased projections, a biased head."""
    model = _model("phi-3.5-moe")
    assert model.layers[0].params[TensorClass.NORM] == 4 * 4096
    assert (
        model.layers[0].params[TensorClass.ATTENTION]
        == 2 * 4096 * 4096 + 2 * 4096 * 1024 + 4096 + 2 * 1024 + 4096
    )
    assert model.top_params == {
        TensorClass.EMBEDDING: 32064 * 4096,
        TensorClass.HEAD: 32064 * 4096 + 32064,
        TensorClass.NORM: 2 * 4096,
    }


def test_glm_counts_three_biases_and_a_correction() -> None:
    """GLM-4.5-Air: biases without the output projection, a correction a routed expert, one shared
    expert; norms by flag.
    """
    params = _model("glm-4.5-air").layers[1].params
    assert (
        params[TensorClass.ATTENTION] == 2 * 4096 * 96 * 128 + 2 * 4096 * 1024 + 96 * 128 + 2 * 1024
    )
    assert params[TensorClass.ROUTER] == 128 * 4096 + 128
    assert params[TensorClass.SHARED_EXPERT] == 3 * 4096 * 1408
    assert (
        _model("glm-4.5-air", use_qk_norm=True).layers[1].params[TensorClass.NORM]
        == params[TensorClass.NORM] + 2 * 128
    )
    assert _model("glm-4.5-air").layers[0].params[TensorClass.DENSE_FFN] == 3 * 4096 * 10944


def test_deepseek_counts_latent_attention() -> None:
    """DeepSeek-V3: low-rank queries, latent keys and values, and their norms; V2-Lite projects
    queries directly.
    """
    attention = 7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 * 128 * 256 + 128 * 128 * 7168
    params = _model("deepseek-v3").layers[5].params
    assert params[TensorClass.ATTENTION] == attention
    assert params[TensorClass.NORM] == 2 * 7168 + 1536 + 512
    assert params[TensorClass.ROUTER] == 256 * 7168 + 256
    lite = _model("deepseek-v2-lite").layers[5].params
    assert (
        lite[TensorClass.ATTENTION]
        == 2048 * 16 * 192 + 2048 * 576 + 512 * 16 * 256 + 16 * 128 * 2048
    )
    assert lite[TensorClass.SHARED_EXPERT] == 2 * 3 * 2048 * 1408
    assert lite[TensorClass.ROUTER] == 64 * 2048


def test_deepseek_attends_in_the_absorbed_form() -> None:
    """Scores are taken over latent and rotary key, values summed over the latent, for each head."""
    attention = _model("deepseek-v3").layers[0].attention
    assert (attention.score_elements, attention.value_elements) == (128 * 576, 128 * 512)


def test_llama4_nests_its_text_part() -> None:
    """Scout: keys from text_config, one shared expert of expert width, no norm weights for queries
    and keys.
    """
    model = _model("llama-4-scout")
    assert model.family == "llama4"
    assert model.layers[0].params[TensorClass.NORM] == 2 * 5120
    assert (
        model.layers[0].params[TensorClass.SHARED_EXPERT] == model.expert_params == 3 * 5120 * 8192
    )


def test_llama4_interleaves_dense_layers() -> None:
    """A step of 2 routes in every second layer, the dense ones being intermediate_size_mlp wide;
    moe_layers overrides it.
    """
    model = _model("llama-4-scout", interleave_moe_layer_step=2)
    assert model.moe_layers == tuple(range(1, 48, 2))
    assert model.layers[0].params[TensorClass.DENSE_FFN] == 3 * 5120 * 16384
    assert _model("llama-4-scout", moe_layers=[3, 7]).moe_layers == (3, 7)


def test_qwen_mixes_dense_layers_in() -> None:
    """decoder_sparse_step and mlp_only_layers both make layers dense."""
    assert _model("qwen3-30b-a3b", decoder_sparse_step=2).moe_layers == tuple(range(1, 48, 2))
    assert _model("qwen3-30b-a3b", mlp_only_layers=[0, 5]).moe_layers == tuple(
        sorted(set(range(48)) - {0, 5})
    )


def test_dense_llama_has_no_experts() -> None:
    """Llama: every layer dense, no router; biases of attention (output too) and feed-forward only
    where the flags say so.
    """
    plain, biased = (
        _model("llama-3.1-8b"),
        _model("llama-3.1-8b", attention_bias=True, mlp_bias=True),
    )
    assert plain.is_dense and (
        plain.num_experts,
        plain.top_k,
        plain.expert_intermediate,
        plain.expert_bytes,
    ) == (0, 0, 0, 0)
    assert plain.layers[0].params == {
        TensorClass.NORM: 2 * 4096,
        TensorClass.ATTENTION: 2 * 4096 * 4096 + 2 * 4096 * 1024,
        TensorClass.DENSE_FFN: 3 * 4096 * 14336,
    }
    added = 4096 + 2 * 1024 + 4096, 2 * 14336 + 4096
    assert biased.total_params - plain.total_params == 32 * sum(added)


def test_qwen2_counts_biases_on_queries_keys_and_values() -> None:
    """Qwen2.5: biases without the output's, and no window while the configuration does not use it."""
    model = _model("qwen2.5-72b")
    assert (
        model.layers[0].params[TensorClass.ATTENTION]
        == 2 * 8192 * 8192 + 2 * 8192 * 1024 + 8192 + 2 * 1024
    )
    assert all(layer.attention.window_tokens is None for layer in model.layers)


def test_a_tied_head_has_no_weights() -> None:
    """Granite shares its embedding with the head; untied it would have one table more."""
    tied = _model("granite-3-3b-a800m")
    assert tied.is_head_tied and TensorClass.HEAD not in tied.top_params
    assert (
        _model("granite-3-3b-a800m", tie_word_embeddings=False).total_params
        == tied.total_params + 49155 * 1536
    )


def test_head_dim_is_derived_only_where_it_divides() -> None:
    """Without head_dim it is hidden_size over heads; where that is no integer, an error."""
    assert _model("mixtral-8x7b").layers[0].attention.score_elements == 4096
    assert _model("mixtral-8x7b", head_dim=64).layers[0].attention.score_elements == 32 * 64
    with pytest.raises(InputError, match="hidden_size must be a multiple of num_attention_heads"):
        _model("mixtral-8x7b", num_attention_heads=24)


def test_windows_follow_the_configuration() -> None:
    """gpt-oss alternates without layer_types too; a window as long as the context is none; Qwen's
    applies from max_window_layers on.
    """
    listed = [layer.attention.window_tokens for layer in _model("gpt-oss-20b").layers]
    assert [
        layer.attention.window_tokens for layer in _model("gpt-oss-20b", layer_types=None).layers
    ] == listed
    assert {
        layer.attention.window_tokens
        for layer in _model("mixtral-8x7b", sliding_window=4096).layers
    } == {4096}
    assert {
        layer.attention.window_tokens
        for layer in _model("mixtral-8x7b", sliding_window=32768).layers
    } == {None}
    qwen = _model("qwen1.5-moe-a2.7b", use_sliding_window=True, sliding_window=4096)
    assert [layer.attention.window_tokens for layer in qwen.layers] == [None] * 21 + [4096] * 3


ESSENTIAL = [
    ("mixtral-8x7b", "model_type"),
    ("mixtral-8x7b", "hidden_size"),
    ("mixtral-8x7b", "num_hidden_layers"),
    ("mixtral-8x7b", "num_attention_heads"),
    ("mixtral-8x7b", "num_key_value_heads"),
    ("mixtral-8x7b", "vocab_size"),
    ("mixtral-8x7b", "max_position_embeddings"),
    ("mixtral-8x7b", "num_local_experts"),
    ("mixtral-8x7b", "num_experts_per_tok"),
    ("mixtral-8x7b", "intermediate_size"),
    ("olmoe-1b-7b", "intermediate_size"),
    ("phi-3.5-moe", "attention_bias"),
    ("phi-3.5-moe", "lm_head_bias"),
    ("qwen1.5-moe-a2.7b", "shared_expert_intermediate_size"),
    ("qwen3-30b-a3b", "head_dim"),
    ("deepseek-v2-lite", "moe_intermediate_size"),
    ("deepseek-v2-lite", "first_k_dense_replace"),
    ("deepseek-v3", "kv_lora_rank"),
    ("glm-4.5-air", "attention_bias"),
    ("gpt-oss-20b", "sliding_window"),
    ("llama-4-scout", "interleave_moe_layer_step"),
    ("granite-3-3b-a800m", "tie_word_embeddings"),
]


@pytest.mark.parametrize(("name", "key"), ESSENTIAL)
def test_a_missing_key_is_named(name: str, key: str) -> None:
    """A key that decides the weights is never guessed: its absence is an error that names file and
    key.
    """
    config = dict(_config(name))
    nested = dict(config.get("text_config") or {})
    nested.pop(key, None)
    config.pop(key, None)
    with pytest.raises(InputError, match=f"some/config.json: key {key}.* is missing"):
        model_from_config(
            {**config, "text_config": nested} if nested else config, name=name, provenance=HERE
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 0}, "key hidden_size must be an integer of at least 1, got 0"),
        (
            {"num_hidden_layers": -1},
            "key num_hidden_layers must be an integer of at least 1, got -1",
        ),
        ({"vocab_size": "32000"}, "key vocab_size must be an integer"),
        ({"hidden_size": True}, "key hidden_size must be an integer"),
        ({"num_experts_per_tok": 9}, "must hold, got 9 > 8"),
        ({"tie_word_embeddings": "no"}, "key tie_word_embeddings must be true or false"),
        ({"model_type": "mixtrall"}, "did you mean 'mixtral'"),
        ({"model_type": ["mixtral"]}, "key model_type must be a word"),
        (
            {"num_hidden_layers": 1_000_000_000},
            "key num_hidden_layers must be at most 4,096, got 1000000000",
        ),
        ({"num_hidden_layers": 10**18}, "key num_hidden_layers must be at most 4,096"),
        ({"hidden_size": 10**5000}, "key hidden_size must be at most 1,048,576"),
        ({"num_local_experts": 10**9}, "key num_local_experts must be at most 65,536"),
        (
            {"layer_types": ["full_attention"], "sliding_window": 128},
            "one entry for each of the 32 layers, got 1",
        ),
        (
            {"layer_types": ["linear_attention"] * 32, "sliding_window": 128},
            "got 'linear_attention'",
        ),
        ({"text_config": 5}, "key text_config must be a mapping"),
        (
            {"layer_types": [["full_attention"]] * 32, "sliding_window": 128},
            "key layer_types may hold",
        ),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], message: str) -> None:
    """A wrong value is one line that names file, key and value."""
    with pytest.raises(InputError, match=message) as caught:
        _model("mixtral-8x7b", **changes)
    assert "some/config.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_only_layers": [48]}, "key mlp_only_layers must list layers from 0 to 47, got 48"),
        ({"mlp_only_layers": list(range(48))}, "no layer routes to experts"),
    ],
)
def test_a_list_of_dense_layers_is_checked(changes: dict[str, Any], message: str) -> None:
    """A layer that is not there, or no layer left that routes, is an error."""
    with pytest.raises(InputError, match=message):
        _model("qwen3-30b-a3b", **changes)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("llama-3.1-8b", "num_experts", 16),
        ("llama-3.1-8b", "num_local_experts", 8),
        ("llama-3.1-8b", "moe_intermediate_size", 512),
        ("llama-3.1-8b", "use_qk_norm", True),
        ("qwen2.5-72b", "mlp_bias", True),
        ("mixtral-8x7b", "attention_bias", True),
        ("mixtral-8x7b", "n_shared_experts", 1),
        ("mixtral-8x7b", "mlp_only_layers", [3]),
        ("qwen3-30b-a3b", "shared_expert_intermediate_size", 512),
        ("qwen3-30b-a3b", "kv_lora_rank", 512),
        ("qwen3-30b-a3b", "linear_num_value_heads", 32),
        ("qwen3-30b-a3b", "first_k_dense_replace", 1),
        ("glm-4.5-air", "q_lora_rank", 1536),
        ("deepseek-v3", "index_head_dim", 128),
        ("olmoe-1b-7b", "lm_head_bias", True),
        ("olmoe-1b-7b", "mamba_d_state", 128),
    ],
)
def test_a_key_that_changes_weights_is_not_passed_over(name: str, key: str, value: Any) -> None:
    """A key that the family does not read and that would change its weights is an error that names
    key, value and family.
    """
    with pytest.raises(
        InputError, match=f"key {key} .*may change the weights, and family"
    ) as caught:
        _model(name, **{key: value})
    assert FAMILIES[_model(name).family].name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, False, 0, [], ""])
def test_a_key_that_changes_nothing_is_passed_over(value: Any) -> None:
    """The same keys with a value that means none leave the model as it is."""
    plain = _model("llama-3.1-8b")
    assert (
        _model(
            "llama-3.1-8b", num_experts=value, attention_bias=value or False, use_qk_norm=value
        ).layers
        == plain.layers
    )


def test_harmless_keys_are_passed_over() -> None:
    """Keys of training, sampling and attention's kernels, and vision parts, are no reason to refuse
    a model.
    """
    extra = {
        "router_aux_loss_coef": 0.001,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "rope_scaling": {"type": "yarn", "factor": 4.0},
        "attention_dropout": 0.1,
        "initializer_range": 0.02,
        "architectures": ["Qwen3MoeForCausalLM"],
        "vision_config": {"hidden_size": 1152, "num_heads": 16},
        "image_token_id": 5,
        "max_window_layers": 48,
    }
    plain = _model("qwen3-30b-a3b")
    model = _model("qwen3-30b-a3b", **extra)
    assert model.layers == plain.layers
    assert model.left_out == ("vision_config (not a part of the text decoder)",)


def test_layers_for_prediction_are_left_out_and_said_so() -> None:
    """GLM and DeepSeek files count layers for multi-token prediction, which no weight of the model
    is.
    """
    model = _model("glm-4.5-air", num_nextn_predict_layers=1)
    assert model.total_params == _model("glm-4.5-air").total_params
    assert model.left_out == ("num_nextn_predict_layers: 1 (layers for multi-token prediction)",)


def test_the_native_scheme_comes_from_the_configuration() -> None:
    """Without quantization_config the checkpoint is 16 bit; an unknown method asks for a choice."""
    assert native_quantization({}, "c") == "16bit"
    assert native_quantization({"quantization_config": {"quant_method": "fp8"}}, "c") == "fp8"
    assert (
        native_quantization(
            {"text_config": {"quantization_config": {"quant_method": "mxfp4"}}}, "c"
        )
        == "mxfp4"
    )
    with pytest.raises(
        InputError, match=r"c: key quantization_config\.quant_method 'spqr' is not understood"
    ):
        native_quantization({"quantization_config": {"quant_method": "spqr"}}, "c")


def test_two_keys_of_one_number_must_agree() -> None:
    """Which of two counts of experts the weights follow cannot be told, so both are named."""
    config = dict(load_spec("mixtral-8x7b").config or {})
    same = model_from_config({**config, "num_experts": 8}, name="m", provenance=HERE)
    assert same.num_experts == 8
    with pytest.raises(InputError, match="key num_experts is 9 where num_local_experts is 8"):
        model_from_config({**config, "num_experts": 9}, name="m", provenance=HERE)
