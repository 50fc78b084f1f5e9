"""Files of the KV tiers beside a GPU: format rosin-kv/1, from which engines' configurations are
written.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from hwprofiles import InputError, closest, read_yaml, validated
from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_BYTES, Devices, Tokens, TokensOrNone
from hwprofiles.quantity import Number
from sim.serving.offload_options import Mode, OffloadSpec
from sim.serving.spec import ServingSpec
from sim.serving.tier import TierSpec

FORMAT: Literal["rosin-kv/1"] = "rosin-kv/1"
_HOST_AND_PORT = re.compile(r"(?:[^\s:/?\[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}(?:[/?]\S*)?$")
Text = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
Bytes = Annotated[Number, Field(ge=1, le=MAX_BYTES)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
POLICIES = {"engine": ("lru", "lfu", "fifo", "mru"), "server": ("lru", "arc")}
"""The eviction policies that LMCache 0.5.6 has, by where it runs."""
LMCACHE_ORDERS = ((), ("cpu",), ("cpu", "disk"), ("cpu", "remote"), ("cpu", "disk", "remote"))
"""The tiers that LMCache may have in the engine, in the order in which it looks for KV."""


class Disk(FilePart):
    """A folder on a local disk, and the bytes of it that each rank may fill."""

    path: Annotated[str, Field(pattern=r"^/\S*$")]
    bytes_per_rank: Bytes


SCHEMES_WITH_PORTS = frozenset({"audit", "infinistore", "lm", "mooncakestore", "redis-sentinel"})
"""Schemes whose every host LMCache wants with a port: its adapters parse them with
``parse_remote_url``.
"""


def _with_ports(url: str) -> str:
    """Return the URL. Raises ValueError where LMCache would miss a port.

    The hosts of a sentinel are separated by commas, and stand behind user:password@.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES_WITH_PORTS:
        return url
    # A password may hold commas and colons, so what stands before the last @ is left out.
    for host in rest.rpartition("@")[2].split(","):
        if not _HOST_AND_PORT.match(host):
            raise ValueError(
                f"every host of {scheme}:// needs its port, such as {scheme}://host:6379, got {host!r}"
            )
    return url


class Remote(FilePart):
    """A store that several nodes share, such as ``redis://host:port`` or
    ``redis-sentinel://host:port,host:port``.

    LMCache tells stores apart by the scheme before ``://``. Its plugins bring schemes of their own,
    so no list is checked.
    """

    url: Annotated[str, Field(pattern=r"^[A-Za-z][\w+.-]*://\S*$"), AfterValidator(_with_ports)]
    serde: Literal["naive", "kivi", "cachegen"] = "naive"


class Endpoint(FilePart):
    """A host and a port on it."""

    host: Text
    port: Port


class Peer(FilePart):
    """Where a decoder listens: one port a rank for each of two purposes."""

    host: Text
    init_ports: Annotated[tuple[Port, ...], Field(min_length=1)]
    alloc_ports: Annotated[tuple[Port, ...], Field(min_length=1)]


class TransferRole(FilePart):
    """The role of this engine where prefill and decode run apart.

    A prefiller (``sender``) sends KV, and tells ``proxy``. A decoder (``receiver``) receives KV at
    ``peer``.
    """

    role: Literal["sender", "receiver"]
    buffer_bytes: Bytes
    buffer_device: Literal["cuda", "cpu"] = "cuda"
    proxy: Endpoint | None = None
    peer: Peer | None = None

    @model_validator(mode="after")
    def _has_its_partner(self) -> Self:
        needed = "proxy" if self.role == "sender" else "peer"
        if getattr(self, needed) is None:
            raise ValueError(f"role {self.role} needs the key {needed}")
        return self


class KvTiers(FilePart):
    """The KV tiers behind one engine's GPUs.

    ``..._per_rank`` is what each of ``num_ranks`` tensor-parallel ranks takes. ``runs_in``: LMCache
    runs inside the engine, or as a server beside it. Then ``server`` says where, and ranks share
    what they bring. ``layerwise`` loads a layer while another computes. ``loads_while_queued``
    moves KV up to faster tiers while a request waits. ``saves_answers`` also keeps the KV of
    decoded tokens. Below ``min_load_tokens`` nothing is loaded.
    """

    format: Literal["rosin-kv/1"]
    name: Text
    runs_in: Literal["engine", "server"] = "engine"
    num_ranks: Devices = 1
    chunk_tokens: Tokens = 256
    host_bytes_per_rank: Bytes
    policy: str = "lru"
    disk: Disk | None = None
    remote: Remote | None = None
    layerwise: bool = False
    loads_while_queued: bool = False
    saves_answers: bool = False
    min_load_tokens: TokensOrNone = 0
    disaggregation: TransferRole | None = None
    server: Endpoint | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.policy not in POLICIES[self.runs_in]:
            raise ValueError(
                f"policy of LMCache in the {self.runs_in}: no policy {self.policy!r}{closest(self.policy, POLICIES[self.runs_in])}"
            )
        if (self.server is None) == (self.runs_in == "server"):
            raise ValueError("the key server is needed with runs_in: server, and only then")
        peer = self.disaggregation.peer if self.disaggregation else None
        for ports in (peer.init_ports, peer.alloc_ports) if peer else ():
            if len(ports) != self.num_ranks:
                raise ValueError(
                    f"disaggregation.peer needs one port for each of the {self.num_ranks} ranks, got {len(ports)}"
                )
        if self.runs_in == "server":
            self._check_server()
        return self

    @property
    def host_bytes(self) -> float:
        """CPU memory of all ranks together."""
        return self.num_ranks * self.host_bytes_per_rank

    def _check_server(self) -> None:
        """Raise ValueError for keys that a server's configuration cannot say."""
        for name in (
            "disk",
            "remote",
            "layerwise",
            "loads_while_queued",
            "saves_answers",
            "min_load_tokens",
            "disaggregation",
        ):
            if getattr(self, name):
                raise ValueError(
                    f"{name} is for LMCache in the engine; with runs_in: server leave it out"
                )


def load_kv_tiers(path: Path) -> KvTiers:
    """Read a file of tiers. Raises InputError, one line."""
    return parse_kv_tiers(read_yaml(path, "KV"), str(path))


def kv_tiers_of(
    spec: ServingSpec,
    name: str,
    *,
    num_ranks: int,
    disk_path: str | None = None,
    remote_url: str | None = None,
) -> KvTiers:
    """Return the tiers of a serving file as KvTiers, shared out over the ranks that keep KV.

    LMCache has no words for ``loading: cheaper``, ``compression`` and the size of ``remote``, so
    these are left out. Raises InputError where there are no tiers, and for tiers that LMCache
    cannot have. Places that only LMCache's owner knows, such as a server's port, raise InputError
    too.
    """
    if not spec.tiers:
        raise InputError("the best plan leaves offloading off: there are no tiers to write")
    check_exportable(spec, disk_path=disk_path, remote_url=remote_url)
    # The first tier is host memory, as the check above has made sure.
    host = spec.tiers[0]
    rules = spec.offload or OffloadSpec()
    places: dict[str, Any] = {}
    for tier in spec.tiers[1:]:
        is_disk = tier.name == "disk"
        places[tier.name] = (
            {"path": disk_path, "bytes_per_rank": _bytes_per_rank(tier, num_ranks)}
            if is_disk
            else {"url": remote_url}
        )
    data = {
        "format": FORMAT,
        # A plan's name may have spaces, which the format does not allow.
        "name": "-".join(name.split()),
        "num_ranks": num_ranks,
        "chunk_tokens": rules.chunk_tokens,
        "host_bytes_per_rank": _bytes_per_rank(host, num_ranks),
        "policy": host.policy,
        "layerwise": rules.is_layerwise,
        "loads_while_queued": rules.prefetches,
        "min_load_tokens": rules.min_retrieve_tokens,
    }
    return parse_kv_tiers(data | places, "the plan's tiers")


def check_exportable(spec: ServingSpec, *, disk_path: str | None, remote_url: str | None) -> None:
    """Raise InputError for tiers that LMCache in the engine does not have, or whose places are not
    said.
    """
    if spec.offload is not None and spec.offload.mode is Mode.SERVER:
        raise InputError(
            "offload.mode server: the server's host and port are not known here; write them into a file of rosin-kv/1 yourself"
        )
    names = tuple(tier.name for tier in spec.tiers)
    if names not in LMCACHE_ORDERS:
        raise InputError(
            f"tiers {', '.join(names)}: LMCache in the engine has cpu, then disk, then remote, and no others"
        )
    if len({tier.policy for tier in spec.tiers if tier.name != "remote"}) > 1:
        raise InputError("tiers: LMCache has one policy for cpu and disk; give both the same")
    for tier in spec.tiers:
        if tier.capacity_bytes is None and tier.name != "remote":
            raise InputError(f"tier {tier.name}: an engine must be told its size; give one")
        if tier.name == "disk" and tier.is_shared:
            raise InputError("tier disk: LMCache's disk is one engine's own; leave is_shared out")
    if "disk" in names and not (disk_path or "").startswith("/"):
        raise InputError(
            f"`disk_path` must say where on the disk LMCache may write, such as /mnt/kv, got {disk_path or 'nothing'}"
        )
    if "remote" in names and "://" not in (remote_url or ""):
        raise InputError(
            f"`remote_url` must be the remote store's address, such as redis://host:6379, got {remote_url or 'nothing'}"
        )


def _bytes_per_rank(tier: TierSpec, num_ranks: int) -> float:
    assert tier.capacity_bytes is not None
    # Whole bytes, rounded down: together the ranks never take more than was offered.
    return tier.capacity_bytes // num_ranks


def parse_kv_tiers(data: Any, where: str) -> KvTiers:
    """Validate the data of such a file; ``where`` names its origin in errors."""
    return validated(KvTiers, data, where)
