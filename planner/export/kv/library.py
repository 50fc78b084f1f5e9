"""The engines that tiers are written for, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from planner.export.kv.lmcache import lmcache_text
from planner.export.kv.vllm import vllm_text
from planner.serving.kv_tiers import KvTiers

KV_EXPORTERS: Mapping[str, Callable[[KvTiers], str]] = MappingProxyType(
    {"lmcache": lmcache_text, "vllm": vllm_text}
)
"""For each engine that reads a file of KV tiers, the function that returns its text."""
