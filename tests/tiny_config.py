"""A Mixtral configuration of a size that can be counted by hand."""

import json
from pathlib import Path
from types import MappingProxyType

TINY_CONFIG = MappingProxyType(
    {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "vocab_size": 1000,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
)


def write_tiny_config(path: Path) -> None:
    """Write it as a config.json, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(TINY_CONFIG)), encoding="utf-8")
