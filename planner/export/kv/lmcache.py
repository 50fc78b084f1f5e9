"""LMCache's configuration: a file for LMCache in the engine, a command line for its server (LMCache
0.5.6).

LMCache itself forgives much: unknown keys warn, wrong values become defaults. So every key and type
is checked here against the definitions that it ships.
"""

import shlex
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from hwprofiles import parse_yaml
from hwprofiles.units import GIB, format_bytes
from planner.serving.kv_tiers import KvTiers, TransferRole

TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "dict": (dict,),
    "list": (list,),
}


def lmcache_text(tiers: KvTiers) -> str:
    """The text of a configuration file (``LMCACHE_CONFIG_FILE``), or, for a server, the command
    that starts it.
    """
    head = f"# {tiers.name}: {_sizes(tiers)}\n"
    if tiers.runs_in == "server":
        return f"{head}{server_command(tiers)}\n"
    note = "# LMCACHE_* environment variables override this file.\n"
    return head + note + yaml.safe_dump(lmcache_config(tiers), sort_keys=False)


def lmcache_config(tiers: KvTiers) -> dict[str, Any]:
    """Keys and values of the configuration file.

    Sizes are in GiB a rank, whatever LMCache's documentation calls them.
    """
    config: dict[str, Any] = {
        "chunk_size": tiers.chunk_tokens,
        "local_cpu": True,
        "max_local_cpu_size": tiers.host_bytes_per_rank / GIB,
        "cache_policy": tiers.policy.upper(),
        "use_layerwise": tiers.layerwise,
        "enable_async_loading": tiers.loads_while_queued,
        "save_decode_cache": tiers.saves_answers,
        "min_retrieve_tokens": tiers.min_load_tokens,
    }
    if tiers.disk is not None:
        config |= {
            "local_disk": tiers.disk.path,
            "max_local_disk_size": tiers.disk.bytes_per_rank / GIB,
        }
    if tiers.remote is not None:
        config |= {"remote_url": tiers.remote.url, "remote_serde": tiers.remote.serde}
    if tiers.disaggregation is not None:
        config |= _disaggregation(tiers.disaggregation)
    problems = problems_of(config)
    assert not problems, problems  # the exporter's own mistake: the file was validated
    return config


def server_command(tiers: KvTiers) -> str:
    """Return the command that starts the server, whose memory is one pool for all ranks."""
    assert tiers.server is not None
    words = [
        "lmcache",
        "server",
        "--host",
        tiers.server.host,
        "--port",
        str(tiers.server.port),
        "--chunk-size",
        str(tiers.chunk_tokens),
    ]
    words += [
        "--l1-size-gb",
        f"{tiers.host_bytes / GIB:.6g}",
        "--eviction-policy",
        tiers.policy.upper(),
    ]
    return shlex.join(words)


def lmcache_keys() -> Mapping[str, str]:
    """The type of every key that LMCache 0.5.6 defines."""
    text = (resources.files("planner.export.kv") / "lmcache_keys.yaml").read_text(encoding="utf-8")
    return dict(parse_yaml(text, "lmcache_keys.yaml")["keys"])


def problems_of(config: Mapping[str, Any]) -> list[str]:
    """Return what LMCache would misread: keys that it does not define, values of another type."""
    keys = lmcache_keys()
    unknown = [f"{key} is no key of LMCache" for key in config if key not in keys]
    wrong = [
        f"{key} must be {keys[key]}, got {value!r}"
        for key, value in config.items()
        if key in keys and not _is_of(keys[key], value)
    ]
    return unknown + wrong


def _is_of(name: str, value: Any) -> bool:
    if value is None:
        return name.endswith("?")
    kind = name.removesuffix("?")
    if kind.startswith("list of "):
        return isinstance(value, list) and all(
            _is_of(kind.removeprefix("list of "), item) for item in value
        )
    # To Python, true is a number.
    return isinstance(value, TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def _disaggregation(part: TransferRole) -> dict[str, Any]:
    """Return the keys of an engine that only prefills or only decodes.

    Partial chunks have to travel too, or the decoder would lack a prompt's end.
    """
    config: dict[str, Any] = {
        "enable_pd": True,
        "pd_role": part.role,
        "pd_buffer_size": round(part.buffer_bytes),
        "pd_buffer_device": part.buffer_device,
        "save_unfull_chunk": True,
        "transfer_channel": "nixl",
    }
    if part.proxy is not None:
        config |= {"pd_proxy_host": part.proxy.host, "pd_proxy_port": part.proxy.port}
    if part.peer is not None:
        config |= {"pd_peer_host": part.peer.host, "pd_peer_init_port": list(part.peer.init_ports)}
        config |= {"pd_peer_alloc_port": list(part.peer.alloc_ports)}
    return config


def _sizes(tiers: KvTiers) -> str:
    each = f"{format_bytes(tiers.host_bytes_per_rank)} of CPU memory for each of {tiers.num_ranks} ranks"
    total = f", {format_bytes(tiers.host_bytes)} in all" if tiers.num_ranks > 1 else ""
    return each + total
