"""Configurations of real engines for KV tiers."""

from planner.export.kv.library import KV_EXPORTERS
from planner.export.kv.lmcache import (
    lmcache_config,
    lmcache_keys,
    lmcache_text,
    problems_of,
    server_command,
)
from planner.export.kv.lmcache_reader import LmcacheFile, LmcacheKeys, load_lmcache, parse_lmcache
from planner.export.kv.vllm import kv_transfer_config, vllm_text

__all__ = [
    "KV_EXPORTERS",
    "LmcacheFile",
    "LmcacheKeys",
    "kv_transfer_config",
    "lmcache_config",
    "lmcache_keys",
    "lmcache_text",
    "load_lmcache",
    "parse_lmcache",
    "problems_of",
    "server_command",
    "vllm_text",
]
