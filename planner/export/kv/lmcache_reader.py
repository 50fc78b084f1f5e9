"""The reader of LMCache 0.5.6's configuration files, as KV tiers and rules for them.

The writer beside it writes such files, and so do users. LMCache warns of keys that it does not know
and runs without them. So the reader names these keys, and they change nothing. The reader refuses
keys that change what is found or how KV moves, if no tier or rule stands for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hwprofiles import InputError, closest, read_yaml, validated
from hwprofiles.errors import shortened
from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_BYTES, Tokens, TokensOrNone
from hwprofiles.units import GIB
from planner.export.kv.lmcache import lmcache_keys
from planner.serving.kv_tiers import POLICIES
from sim.serving.offload_options import OffloadSpec
from sim.serving.tier import TierSpec

FIXED_KEYS: Mapping[str, Any] = MappingProxyType(
    {
        "reserve_local_cpu_size": 0.0,
        "save_decode_cache": False,
        "save_unfull_chunk": False,
        "enable_blending": False,
        "retrieve_locations": None,
        "store_location": None,
        "enable_p2p": False,
        "enable_pd": False,
        "mp_host": None,
        "gds_path": None,
        "maru_path": None,
        "extra_config": None,
        "external_lookup_client": None,
        "priority_limit": None,
        "hit_miss_ratio": None,
        "storage_plugins": None,
        "remote_storage_plugins": None,
        "remote_config_url": None,
        "enable_hidden_state_cache": False,
    }
)
"""Keys that are priced at this value alone, LMCache's default.

Another value changes what is found where, or how KV moves, and no tier or rule stands for that.
Keys that are neither here nor in LmcacheKeys (addresses, ports, timeouts, statistics) leave the
price as it is.
"""
RENAMED_KEYS: Mapping[str, str] = MappingProxyType(
    {"plugin_locations": "runtime_plugin_locations", "external_backends": "storage_plugins"}
)
"""Old names that LMCache still takes from a file."""
NAIVE = "naive"
"""The serialisation that leaves KV as it is."""
Size = Annotated[float, Field(ge=0, le=MAX_BYTES / GIB, strict=True)]
"""GiB that one rank takes."""
Truth = Annotated[bool, Field(strict=True)]
Word = Annotated[str, Field(strict=True)]


def _policy(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    # LMCache takes either case.
    if name.lower() not in POLICIES["engine"]:
        raise ValueError(f"no policy {shortened(repr(name))}{closest(name, POLICIES['engine'])}")
    return name.lower()


class LmcacheKeys(FilePart):
    """The keys that a load is priced by, with LMCache's defaults (lmcache/v1/config.py, 0.5.6).

    Sizes are in GiB a rank, whatever LMCache's documentation calls them.
    """

    chunk_size: Tokens = 256
    local_cpu: Truth = True
    max_local_cpu_size: Size = 5.0
    local_disk: Word | None = None
    max_local_disk_size: Size = 0.0
    remote_url: Word | None = None
    remote_serde: Word | None = NAIVE
    use_layerwise: Truth = False
    enable_async_loading: Truth = False
    min_retrieve_tokens: TokensOrNone = 0
    cache_policy: Annotated[Word, BeforeValidator(_policy)] = "lru"

    @property
    def tier_names(self) -> tuple[str, ...]:
        """The tiers that KV is kept in, in the order of search."""
        # A disk needs both its path and a size above 0; without them LMCache makes none.
        kept = {
            "cpu": self.local_cpu and _whole_bytes(self.max_local_cpu_size) > 0,
            "disk": bool(self.local_disk) and _whole_bytes(self.max_local_disk_size) > 0,
            "remote": self.remote_url is not None,
        }
        return tuple(name for name, is_there in kept.items() if is_there)


@dataclass(frozen=True, slots=True, kw_only=True)
class LmcacheFile:
    """The meaning of a file: the KV tiers of one instance, and their rules.

    There are no tiers where KV is kept nowhere. ``unknown_keys`` are those that LMCache 0.5.6 does
    not know.
    """

    tiers: tuple[TierSpec, ...]
    offload: OffloadSpec | None
    unknown_keys: tuple[str, ...]


def load_lmcache(
    path: Path,
    num_ranks: int,
    stated: Sequence[TierSpec] = (),
    rules: OffloadSpec | None = None,
) -> LmcacheFile:
    """Read a file for an instance whose KV ``num_ranks`` ranks keep. Raises InputError, one line.

    ``stated`` gives, by the tier's name, what the file cannot say: rates, and the size of
    ``remote``. ``rules`` give the bytes of a token and the order of touching.
    """
    return parse_lmcache(read_yaml(path, "configuration"), str(path), num_ranks, stated, rules)


def parse_lmcache(
    data: Mapping[str, Any],
    where: str,
    num_ranks: int,
    stated: Sequence[TierSpec] = (),
    rules: OffloadSpec | None = None,
) -> LmcacheFile:
    """Return what the data of such a file means; ``where`` names its origin in errors.

    Raises InputError, one line.
    """
    current = {RENAMED_KEYS.get(key, key): value for key, value in data.items()}
    known = lmcache_keys()
    unknown = tuple(key for key in current if key not in known)
    # With defaults alone, another program's file would be priced as if LMCache had read it.
    if len(unknown) == len(current):
        raise InputError(
            f"{where}: no key of LMCache is in it, got {_listed(unknown) or 'nothing'}"
        )
    _check_fixed(current, where)
    meant = {key: value for key, value in current.items() if key in LmcacheKeys.model_fields}
    keys = validated(LmcacheKeys, meant, where)
    names = keys.tier_names
    if names and names[0] != "cpu":
        raise InputError(
            f"{where}: {names[0]} without CPU memory before it (local_cpu: false, or max_local_cpu_size: 0) is not priced"
        )
    by_name = {tier.name: tier for tier in stated}
    tiers = tuple(
        _tier(keys, by_name.get(name, TierSpec(name=name)), num_ranks, where) for name in names
    )
    return LmcacheFile(
        tiers=tiers, offload=_rules(keys, rules) if tiers else None, unknown_keys=unknown
    )


def _check_fixed(current: Mapping[str, Any], where: str) -> None:
    """Raise InputError for keys that would change the price in a way that is not known."""
    # An empty mapping or list says as little as a key that is left out.
    changed = [
        key
        for key, value in current.items()
        if key in FIXED_KEYS and (value or None) != (FIXED_KEYS[key] or None)
    ]
    if changed:
        key = changed[0]
        others = f" (so must {_listed(changed[1:])})" if changed[1:] else ""
        raise InputError(
            f"{where}: {key} would change the answer in a way that is not priced; it must be left out{others}"
        )


def _tier(keys: LmcacheKeys, stated: TierSpec, num_ranks: int, where: str) -> TierSpec:
    if stated.name == "remote":
        return _remote(keys, stated, where)
    size = keys.max_local_cpu_size if stated.name == "cpu" else keys.max_local_disk_size
    changes = {
        "capacity_bytes": num_ranks * _whole_bytes(size),
        "policy": keys.cache_policy,
        "compression": None,
    }
    return validated(TierSpec, dict(stated) | changes, where)


def _remote(keys: LmcacheKeys, stated: TierSpec, where: str) -> TierSpec:
    """Return the remote store's tier, with the size and policy of ``stated``, which the file does
    not say.

    Raises InputError where the file makes KV smaller and ``stated`` has no compression.
    """
    if (keys.remote_serde or NAIVE) == NAIVE:
        return stated.model_copy(update={"compression": None})
    if stated.compression is None:
        serde = shortened(str(keys.remote_serde))
        raise InputError(
            f"{where}: remote_serde: {serde} makes KV smaller: a serving file must state the compression of remote"
        )
    return stated


def _rules(keys: LmcacheKeys, rules: OffloadSpec | None) -> OffloadSpec:
    # What is no choice of LMCache's file is the same for all that is compared.
    known = {} if rules is None else rules.model_dump(include={"bytes_per_token", "touch_order"})
    return OffloadSpec(
        chunk_tokens=keys.chunk_size,
        min_retrieve_tokens=keys.min_retrieve_tokens,
        is_layerwise=keys.use_layerwise,
        prefetches=keys.enable_async_loading,
        **known,
    )


def _whole_bytes(size_gib: float) -> int:
    """Bytes of one rank, as LMCache counts them."""
    return int(size_gib * GIB)


def _listed(keys: Sequence[str]) -> str:
    return shortened(", ".join(keys))
