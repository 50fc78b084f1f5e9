"""KV tiers as LMCache's and vLLM's configurations: every key known, every value as meant, by
LMCache itself where it is installed.
"""

import json
import logging
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from hwprofiles.units import GIB
from planner.export.kv import (
    KV_EXPORTERS,
    kv_transfer_config,
    lmcache_config,
    lmcache_keys,
    lmcache_text,
    problems_of,
    server_command,
)
from planner.serving.kv_tiers import FORMAT, KvTiers, kv_tiers_of, load_kv_tiers, parse_kv_tiers
from sim.serving.spec import ServingSpec

PLAIN: dict[str, Any] = {"format": FORMAT, "name": "chat", "host_bytes_per_rank": "60GiB"}
SERVER = PLAIN | {
    "runs_in": "server",
    "num_ranks": 8,
    "policy": "arc",
    "server": {"host": "node7", "port": 5555},
}
SENDER = {"role": "sender", "buffer_bytes": "1GiB", "proxy": {"host": "proxy", "port": 7500}}
RECEIVER = {
    "role": "receiver",
    "buffer_bytes": "2GiB",
    "peer": {"host": "me", "init_ports": [7300, 7301], "alloc_ports": [7400, 7401]},
}

tiers = st.builds(
    lambda optional, **always: parse_kv_tiers(
        PLAIN | always | {key: value for key, value in optional.items() if value is not None},
        "made",
    ),
    host_bytes_per_rank=st.integers(1, 2**40),
    chunk_tokens=st.integers(1, 4096),
    num_ranks=st.just(2),
    policy=st.sampled_from(["lru", "lfu", "fifo", "mru"]),
    layerwise=st.booleans(),
    loads_while_queued=st.booleans(),
    saves_answers=st.booleans(),
    min_load_tokens=st.integers(0, 10_000),
    optional=st.fixed_dictionaries(
        {
            "disk": st.none() | st.just({"path": "/mnt/kv", "bytes_per_rank": "1TB"}),
            "remote": st.none() | st.just({"url": "redis://store:6379", "serde": "cachegen"}),
            "disaggregation": st.none() | st.sampled_from([SENDER, RECEIVER]),
        }
    ),
)


class Said(logging.Handler):
    """Warnings and worse that a logger has seen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.warnings.append(record.getMessage())


def _load(**changes: Any) -> KvTiers:
    return parse_kv_tiers(PLAIN | changes, "here")


@given(tiers)
def test_every_key_is_one_of_lmcaches(made: KvTiers) -> None:
    """Keys are within LMCache's definitions, values of their types, and the text reads back as the
    same mapping.
    """
    config = lmcache_config(made)
    assert set(config) <= set(lmcache_keys()) and problems_of(config) == []
    assert yaml.safe_load(lmcache_text(made)) == config
    assert config["max_local_cpu_size"] * GIB == pytest.approx(made.host_bytes_per_rank)


@given(made=tiers)
def test_lmcache_itself_reads_what_is_meant(
    made: KvTiers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """LMCache loads every value from the file as it was written, changes none and warns of nothing;
    its keys are those that we ship.
    """
    config = pytest.importorskip(
        "lmcache.v1.config", reason="needs lmcache 0.5.6, see docs/how-to/kv-tiers.md"
    )
    assert set(config._CONFIG_DEFINITIONS) == set(lmcache_keys())
    path = tmp_path_factory.mktemp("lmcache") / "config.yaml"
    path.write_text(lmcache_text(made), encoding="utf-8")
    said = Said()
    loggers = [logging.getLogger(name) for name in ("lmcache.v1.config", "lmcache.v1.config_base")]
    for logger in loggers:
        logger.addHandler(said)
    try:
        loaded = config.load_engine_config_with_overrides(str(path))
    finally:
        for logger in loggers:
            logger.removeHandler(said)
    assert {key: getattr(loaded, key) for key in lmcache_config(made)} == lmcache_config(made)
    assert said.warnings == []


def test_sizes_are_per_rank_and_in_binary_units() -> None:
    """60 GiB a rank is 60 in LMCache's file, whatever the number of ranks; 1 TB of disk is 931.32."""
    config = lmcache_config(_load(num_ranks=8, disk={"path": "/kv", "bytes_per_rank": "1TB"}))
    assert config["max_local_cpu_size"] == 60.0
    assert config["max_local_disk_size"] == pytest.approx(931.3226)
    assert "480" not in lmcache_text(_load(num_ranks=8)) and "515 GB in all" in lmcache_text(
        _load(num_ranks=8)
    )


def test_a_decoder_and_a_prefiller_say_all_that_lmcache_asserts() -> None:
    """A receiver has its peer's ports, one a rank, a sender its proxy; both keep partial chunks."""
    receiver = lmcache_config(_load(num_ranks=2, disaggregation=RECEIVER))
    assert receiver["pd_peer_init_port"] == [7300, 7301] and receiver["pd_buffer_size"] == 2 * GIB
    sender = lmcache_config(_load(disaggregation=SENDER))
    assert (sender["pd_proxy_host"], sender["pd_proxy_port"], sender["save_unfull_chunk"]) == (
        "proxy",
        7500,
        True,
    )


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"chunk_sise": 256}, "chunk_sise is no key of LMCache"),
        ({"chunk_size": "256"}, "chunk_size must be int, got '256'"),
        ({"local_cpu": 1}, "local_cpu must be bool, got 1"),
        ({"max_local_cpu_size": True}, "max_local_cpu_size must be float, got True"),
        ({"chunk_size": None}, "chunk_size must be int, got None"),
        ({"pd_peer_init_port": [1, "2"]}, "pd_peer_init_port must be list of int?, got [1, '2']"),
    ],
)
def test_the_check_finds_what_lmcache_would_forgive(config: dict[str, Any], problem: str) -> None:
    """Unknown keys and wrong types."""
    assert problems_of(config) == [problem]
    assert (
        problems_of({"remote_url": None, "max_local_cpu_size": 5, "pd_peer_init_port": None}) == []
    )


def test_vllms_argument() -> None:
    """The connector, the role, and layer-wise loading where there is any; JSON that a shell passes
    on whole.
    """
    assert kv_transfer_config(_load()) == {
        "kv_connector": "LMCacheConnectorV1",
        "kv_role": "kv_both",
    }
    assert kv_transfer_config(_load(layerwise=True))["kv_connector_extra_config"] == {
        "use_layerwise": True
    }
    assert kv_transfer_config(_load(disaggregation=SENDER))["kv_role"] == "kv_producer"
    assert (
        kv_transfer_config(_load(num_ranks=2, disaggregation=RECEIVER))["kv_role"] == "kv_consumer"
    )
    option, value = shlex.split(KV_EXPORTERS["vllm"](_load()))
    assert option == "--kv-transfer-config" and json.loads(value) == kv_transfer_config(_load())


def test_a_server_shares_what_its_ranks_bring() -> None:
    """Eight ranks of 60 GiB are one pool of 480; vLLM is told where it listens."""
    made = parse_kv_tiers(SERVER, "here")
    assert server_command(made) == (
        "lmcache server --host node7 --port 5555 --chunk-size 256 --l1-size-gb 480 --eviction-policy ARC"
    )
    assert kv_transfer_config(made) == {
        "kv_connector": "LMCacheMPConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"lmcache.mp.host": "tcp://node7", "lmcache.mp.port": 5555},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"host_bytes_per_rank": 0},
            "here: host_bytes_per_rank: must be at least 1, got 0",
        ),
        ({"policy": "arc"}, "no policy 'arc'; known: fifo, lfu, lru, mru"),
        ({"chunk_token": 5}, "unknown key chunk_token; did you mean 'chunk_tokens'"),
        (
            {"server": {"host": "a", "port": 1}},
            "the key server is needed with runs_in: server, and only then",
        ),
        ({"runs_in": "server"}, "the key server is needed with runs_in: server"),
        (
            SERVER | {"layerwise": True},
            "layerwise is for LMCache in the engine; with runs_in: server leave it out",
        ),
        ({"disk": {"path": "kv", "bytes_per_rank": 5}}, "disk.path"),
        (
            {"disaggregation": {"role": "sender", "buffer_bytes": 5}},
            "role sender needs the key proxy",
        ),
        (
            {"disaggregation": RECEIVER},
            "disaggregation.peer needs one port for each of the 1 ranks, got 2",
        ),
        ({"remote": {"url": "host:5"}}, "remote.url"),
    ],
)
def test_a_wrong_file_is_one_line(changes: dict[str, Any], message: str) -> None:
    """File, key, value, and what would be right."""
    with pytest.raises(InputError) as caught:
        _load(**changes)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    """A file of tiers loads as the mapping it holds."""
    path = tmp_path / "kv.yaml"
    path.write_text(yaml.safe_dump(SERVER), encoding="utf-8")
    assert load_kv_tiers(path) == parse_kv_tiers(SERVER, "here")


def _serving(*tiers: dict[str, Any], **offload: Any) -> ServingSpec:
    return ServingSpec.model_validate(
        {"instance": {"num_gpus": 4}, "tiers": tiers, "offload": offload}
    )


CPU, DISK, REMOTE = (
    {"name": "cpu", "capacity_bytes": "400GB"},
    {"name": "disk", "capacity_bytes": "2TB"},
    {"name": "remote"},
)


def test_a_plan_with_every_tier_is_written() -> None:
    """Sizes are divided by ranks, places are as given, and LMCache's configuration has all three
    tiers.
    """
    made = kv_tiers_of(
        _serving(CPU, DISK, REMOTE, prefetches=True),
        "a chat",
        num_ranks=4,
        disk_path="/mnt/kv",
        remote_url="redis://store:6379",
    )
    assert (made.num_ranks, made.host_bytes_per_rank, made.loads_while_queued) == (4, 100e9, True)
    config = lmcache_config(made)
    assert config["local_disk"] == "/mnt/kv" and config[
        "max_local_disk_size"
    ] * GIB == pytest.approx(500e9)
    assert config["remote_url"] == "redis://store:6379"
    assert kv_tiers_of(_serving(CPU, REMOTE), "x", num_ranks=4, remote_url="lm://a:1").disk is None


@pytest.mark.parametrize(
    ("tiers", "offload", "message"),
    [
        ((), {}, "leaves offloading off"),
        ((CPU, DISK), {}, "`disk_path` must say where"),
        ((CPU, REMOTE), {}, "`remote_url` must be"),
        ((CPU, {"name": "disk"}), {}, "tier disk: an engine must be told its size"),
        ((CPU, REMOTE, DISK), {}, "cpu, then disk, then remote"),
        ((CPU, DISK | {"policy": "lfu"}), {}, "one policy for cpu and disk"),
        ((CPU, DISK | {"is_shared": True}), {}, "leave is_shared out"),
        ((CPU,), {"mode": "server"}, "host and port are not known"),
    ],
)
def test_what_lmcache_in_the_engine_cannot_do_is_refused(
    tiers: Any, offload: Any, message: str
) -> None:
    """One line each, before anything is written."""
    spec = _serving(*tiers, **offload) if tiers else ServingSpec()
    with pytest.raises(InputError, match=message):
        kv_tiers_of(spec, "x", num_ranks=4)
