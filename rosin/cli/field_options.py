"""Option names in place of the field names in messages of Python and of the lower packages."""

import re
from collections.abc import Mapping

OPTIONS: Mapping[str, str] = {
    "amortize_hours": "--amortize-hours",
    "batch_size": "--batch",
    "beams": "--beams",
    "binary": "--binary",
    "device": "--device",
    "disk_path": "--disk-path",
    "dtypes": "--dtype",
    "expert_cache_bytes": "--expert-cache-bytes",
    "expert_slots_per_layer": "--expert-slots-per-layer",
    "family": "--family",
    "form": "--form",
    "gpus": "--gpus",
    "layers_by_card": "--layers-by-card",
    "max_itl_s": "--max-itl",
    "max_ttft_s": "--max-ttft",
    "model": "--model",
    "model_file": "--model-file",
    "models": "--models",
    "objective": "--objective",
    "output_tokens": "--output-tokens",
    "overrides": "--set",
    "price_per_hour_usd": "--price-per-hour",
    "prices": "--prices",
    "prompt_tokens": "--prompt-tokens",
    "quantization": "--quantization",
    "remote_url": "--remote-url",
    "reserve_vram_bytes": "--reserve-vram",
    "routing": "--routing",
    "runtime": "--runtime",
    "runtime_args": "--runtime-args",
    "scheduler": "--scheduler",
    "settings": "--set",
    "split_mode": "--split-mode",
    "vary": "--vary",
}
"""The option that sets a field, by the name of the field."""

_FIELD = re.compile(r"`(\w+)`")


def in_options(message: str) -> str:
    """Return a message in which each field in backticks is replaced by the option that sets it."""
    return _FIELD.sub(lambda found: OPTIONS.get(found[1], found[0]), message)
