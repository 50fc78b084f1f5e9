"""Options in place of fields: messages of the packages below name fields, and so does Python."""

import re
from collections.abc import Mapping

OPTIONS: Mapping[str, str] = {
    "amortize_hours": "--amortize-hours",
    "device": "--device",
    "disk_path": "--disk-path",
    "dtypes": "--dtype",
    "gpus": "--gpus",
    "max_itl_s": "--max-itl",
    "max_ttft_s": "--max-ttft",
    "models": "--models",
    "objective": "--objective",
    "output_tokens": "--output-tokens",
    "price_per_hour_usd": "--price-per-hour",
    "prices": "--prices",
    "remote_url": "--remote-url",
    "reserve_vram_bytes": "--reserve-vram",
    "routing": "--routing",
    "scheduler": "--scheduler",
}
"""The option that sets each field which a message names."""

_FIELD = re.compile(r"`(\w+)`")


def in_options(message: str) -> str:
    """Return a message with options in place of the fields in backticks that an option sets."""
    return _FIELD.sub(lambda found: OPTIONS.get(found[1], found[0]), message)
