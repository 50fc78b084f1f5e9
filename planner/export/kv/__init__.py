"""Configurations of real engines for KV tiers."""

from planner.export.kv.library import KV_EXPORTERS
from planner.export.kv.lmcache import (
    lmcache_config,
    lmcache_keys,
    lmcache_text,
    problems_of,
    server_command,
)
from planner.export.kv.vllm import kv_transfer_config, vllm_text

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
