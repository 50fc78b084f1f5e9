"""vLLM's side of LMCache: the argument ``--kv-transfer-config``."""

import json
import shlex
from typing import Any

from planner.serving.kv_tiers import KvTiers

ROLES = {"sender": "kv_producer", "receiver": "kv_consumer"}
BOTH = "kv_both"


def vllm_text(tiers: KvTiers) -> str:
    """Return the argument ``--kv-transfer-config`` as a shell takes it."""
    return f"--kv-transfer-config {shlex.quote(json.dumps(kv_transfer_config(tiers)))}\n"


def kv_transfer_config(tiers: KvTiers) -> dict[str, Any]:
    """Return the configuration of vLLM's connector to LMCache in the engine, or to its server.

    The configuration says where layers load one by one, because vLLM then captures other graphs.
    """
    if tiers.runs_in == "server":
        assert tiers.server is not None
        where = {
            "lmcache.mp.host": f"tcp://{tiers.server.host}",
            "lmcache.mp.port": tiers.server.port,
        }
        return {
            "kv_connector": "LMCacheMPConnector",
            "kv_role": BOTH,
            "kv_connector_extra_config": where,
        }
    role = ROLES[tiers.disaggregation.role] if tiers.disaggregation else BOTH
    config: dict[str, Any] = {"kv_connector": "LMCacheConnectorV1", "kv_role": role}
    return config | (
        {"kv_connector_extra_config": {"use_layerwise": True}} if tiers.layerwise else {}
    )
