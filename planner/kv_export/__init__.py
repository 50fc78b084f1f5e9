"""Configurations of real engines for KV tiers."""

from planner.kv_export.library import KV_EXPORTERS
from planner.kv_export.lmcache import lmcache_config, lmcache_keys, lmcache_text, problems_of, server_command
from planner.kv_export.vllm import kv_transfer_config, vllm_text

__all__ = [
    "KV_EXPORTERS",
    "kv_transfer_config",
    "lmcache_config",
    "lmcache_keys",
    "lmcache_text",
    "problems_of",
    "server_command",
    "vllm_text",
]
