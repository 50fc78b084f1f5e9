"""Keys that a family does not read: those that would change the weights are errors, the others are
ignored.
"""

import re
from collections.abc import Iterator
from typing import Any

from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.family import Family

_CHANGES_WEIGHTS = re.compile(
    r".*experts?(_.*)?|.*_rank|.*intermediate.*|.*ffn.*|.*hidden_size.*|.*hidden_dim.*|"
    r".*head_dim.*|.*heads.*|.*_bias|bias|.*qk_norm.*|.*qk_layernorm.*|.*kernel.*|"
    r"(linear|mamba|ssm|conv|kda|gla|indexer|index|hc|altup|laurel|engram|ngram|per_layer)_.*|"
    r".*dense_replace|.*_layer_freq|.*layer_step|.*interval|.*period|layer_types|.*layers.*|layer_pattern|"
    r".*layer_pattern|hybrid_.*|.*_config_list|block_configs|vocab_size_.*|.*vocab_size|"
    r"d_(model|ff|state|conv|inner|head|kv)|n_(embd|head|layer|inner)|.*_gate|.*gating.*|"
    r"num_(blocks|memory_blocks|layers|heads|groups|codebooks)|o_groups|sandwich_norm|use_mla|"
    r"embedding_(size|dim)|.*sink.*|attn_type_list|.*latent.*"
)
"""Names of settings that some family's weights depend on."""

_HARMLESS = re.compile(
    r"num_experts_per_tok|num_experts_per_token|experts_per_token|top_k_experts|moe_topk|"
    r"(use_)?sliding_window.*|max_window_layers|num_experts_per_group|.*drop.*|.*dtype.*|"
    r".*_loss.*|.*aux.*coef.*|.*aux.*alpha.*|router_z_.*|.*jitter.*|.*_token_id|.*initializer.*|"
    r"pretraining_tp|norm_topk_prob|output_.*|use_cache|num_(output_)?logits_to_keep|"
    r"ep_size|rope_.*|.*rope_theta.*|.*max_seq.*|max_.*|topk_.*|n_group|routed_scaling_factor|"
    r".*_scaling_factor|.*multiplier.*|.*_scale|.*_eps|chunk_size_feed_forward|id2label|label2id|"
    r"num_labels|num_beams|num_beam_groups|num_return_sequences|problem_type|keys_to_.*|"
    r"hidden_act|tie_encoder_decoder|cross_attention_.*|bad_words_ids|pruned_heads|is_.*|"
    r"_.*|num_image.*|.*image.*|.*video.*|.*vision.*|.*audio.*|.*vit_.*|.*speech.*|"
    r"use_.*kernels?|use_mambapy|layer_norm_epsilon|.*_implementation|rotary_.*|no_rope_layer.*|.*norm_type|.*_limit"
)
"""Names that match _CHANGES_WEIGHTS and still leave the weights as they are."""

_PARTS = re.compile(
    r".*(vision|visual|audio|image|video|speech|vit|talker|thinker|code2wav|sam|projector|mm)_?.*config|"
    r"vision_config|audio_config|assistant.*config"
)
_PREDICTION_LAYERS = (
    "num_nextn_predict_layers",
    "mtp_num_hidden_layers",
    "num_mtp_modules",
    "num_mtp_layers",
    "mtp_num_layers",
    "mtp_transformer_layers",
    "num_mtp_predict_layers",
)
"""Keys that count layers for multi-token prediction, which are left out."""
_IS_OF_PREDICTION = re.compile(r".*(mtp|nextn).*")


def refuse_unused(keys: ConfigKeys, family: Family) -> None:
    """Raise InputError for a key that changes weights in some family and that this one does not
    read.

    A key whose value leaves the weights as they are (null, false, 0, empty) is not refused.
    """
    # They say how weights are stored, not which there are, and are read elsewhere.
    keys.has("quantization_config", "quantization", "compression_config", "dtype", "torch_dtype")
    for name, value in keys.stated().items():
        # A key that is null, false, 0 or empty says that the model has no such part.
        if name in keys.used or name in family.idle or not _matters(value):
            continue
        if _IS_OF_PREDICTION.fullmatch(name) or _HARMLESS.fullmatch(name):
            continue
        # Sections are of other parts, or of training; those that a family needs it has read.
        if _CHANGES_WEIGHTS.fullmatch(name) and not isinstance(value, dict):
            raise keys.error(
                name,
                f"({shown(value)}) may change the weights, and family {family.name} does not read it;"
                " remove the key if it does not, or name the right model_type",
            )


def left_out(keys: ConfigKeys) -> tuple[str, ...]:
    """Return, in words, what the configuration describes besides the decoder: vision parts, layers
    for prediction.
    """
    return tuple(_left_out(keys))


def _left_out(keys: ConfigKeys) -> Iterator[str]:
    for name, value in keys.stated().items():
        if isinstance(value, dict) and _PARTS.fullmatch(name):
            yield f"{name} (not a part of the text decoder)"
        elif name in _PREDICTION_LAYERS and _matters(value):
            yield f"{name}: {shown(value)} (layers for multi-token prediction)"


def _matters(value: Any) -> bool:
    return bool(value)
