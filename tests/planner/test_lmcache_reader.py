"""LMCache's configuration files, read: what our writer writes comes back, and what would change the
answer is refused by name.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from hwprofiles.units import GIB
from planner.export.kv import LmcacheKeys, lmcache_keys, lmcache_text, load_lmcache, parse_lmcache
from planner.export.kv.lmcache_reader import FIXED_KEYS, RENAMED_KEYS
from planner.serving.kv_tiers import LMCACHE_ORDERS, POLICIES, kv_tiers_of
from sim.serving.offload_options import OffloadSpec
from sim.serving.spec import ServingSpec
from sim.serving.tier import TierSpec

RATE = {"bytes_per_s": 5e9, "latency_ns": 1e3}
PLACES = {"disk_path": "/mnt/kv", "remote_url": "redis://store:6379"}
PLAIN = {"chunk_size": 128, "max_local_cpu_size": 2.5}
KNOWN = frozenset(lmcache_keys())
NEUTRAL = sorted(KNOWN - set(FIXED_KEYS) - set(LmcacheKeys.model_fields))


@st.composite
def served(draw: st.DrawFn) -> tuple[ServingSpec, int]:
    """Tiers that LMCache in the engine has, their rules, and the number of ranks."""
    policy = draw(st.sampled_from(POLICIES["engine"]))
    num_ranks = draw(st.sampled_from([1, 2, 3, 8]))
    # Whole bytes for each rank, as the exporter shares them out.
    sizes = st.integers(1, 2**42).map(lambda size: size * num_ranks)
    tiers = [
        {"name": name, "policy": policy, "capacity_bytes": draw(sizes)}
        if name != "remote"
        else {"name": name, "read": RATE, "write": RATE, "capacity_bytes": draw(st.none() | sizes)}
        for name in draw(st.sampled_from([names for names in LMCACHE_ORDERS if names]))
    ]
    offload = {
        "chunk_tokens": draw(st.integers(1, 4096)),
        "min_retrieve_tokens": draw(st.integers(0, 5000)),
        "is_layerwise": draw(st.booleans()),
        "prefetches": draw(st.booleans()),
        "touch_order": draw(st.sampled_from(["tail-first", "head-first"])),
        "bytes_per_token": draw(st.none() | st.integers(1, 10**6)),
    }
    return ServingSpec.model_validate({"tiers": tiers, "offload": offload}), num_ranks


@given(made=served())
def test_what_the_exporter_writes_is_read_back(made: tuple[ServingSpec, int]) -> None:
    """Tiers, sizes to the byte, policies and rules; what no file of LMCache says is the serving
    file's.
    """
    spec, num_ranks = made
    text = lmcache_text(kv_tiers_of(spec, "a plan", num_ranks=num_ranks, **PLACES))
    read = parse_lmcache(yaml.safe_load(text), "here", num_ranks, spec.tiers, spec.offload)
    assert read.tiers == spec.tiers
    assert read.offload == spec.offload
    assert read.unknown_keys == ()


@given(st.dictionaries(st.text(min_size=1).filter(lambda key: key not in KNOWN), st.integers()))
def test_unknown_keys_are_named_once_and_change_nothing(strange: dict[str, int]) -> None:
    """LMCache warns of them and runs without; old names that it still takes are none of them."""
    unknown = {key: value for key, value in strange.items() if key not in RENAMED_KEYS}
    read = parse_lmcache(PLAIN | unknown, "here", 2)
    plain = parse_lmcache(PLAIN, "here", 2)
    assert (read.tiers, read.offload) == (plain.tiers, plain.offload)
    assert sorted(read.unknown_keys) == sorted(unknown)


@given(key=st.sampled_from(NEUTRAL), value=st.none() | st.booleans() | st.integers() | st.text())
def test_keys_without_a_price_change_nothing(key: str, value: object) -> None:
    """Addresses, ports, timeouts and statistics, whatever they say."""
    assert parse_lmcache(PLAIN | {key: value}, "here", 1) == parse_lmcache(PLAIN, "here", 1)


@given(
    key=st.sampled_from(sorted(FIXED_KEYS)),
    value=st.just(True) | st.integers(1, 9) | st.text(min_size=1) | st.just({"a": 1}),
)
def test_keys_that_would_change_the_answer_are_refused_by_name(key: str, value: object) -> None:
    """Each, set to anything but what LMCache takes without it; at its default it is no matter."""
    with pytest.raises(InputError, match=f"^here: {key} would change the answer") as caught:
        parse_lmcache(PLAIN | {key: value}, "here", 1)
    assert "\n" not in str(caught.value)
    same = PLAIN | {key: FIXED_KEYS[key]}
    assert parse_lmcache(same, "here", 1) == parse_lmcache(PLAIN, "here", 1)


@given(
    # Below 2⁵³ bytes in all, so that a float is exact.
    size=st.floats(1e-6, 1e5),
    disk=st.floats(1e-6, 1e5),
    num_ranks=st.integers(1, 64),
    path=st.sampled_from(["/mnt/kv", "file:///mnt/kv/", "/a,/b"]),
)
def test_sizes_are_of_each_rank_and_binary(
    size: float, disk: float, num_ranks: int, path: str
) -> None:
    """``int(size · 2³⁰)`` bytes a rank, as LMCache's allocators count them."""
    data = {"max_local_cpu_size": size, "local_disk": path, "max_local_disk_size": disk}
    read = parse_lmcache(data, "here", num_ranks)
    expected = [num_ranks * int(each * GIB) for each in (size, disk)]
    assert [tier.capacity_bytes for tier in read.tiers] == expected


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"chunk_size": 256}, ["cpu"]),
        ({"local_cpu": False}, []),
        ({"max_local_cpu_size": 0}, []),
        ({"local_disk": "/kv"}, ["cpu"]),
        ({"max_local_disk_size": 9}, ["cpu"]),
        ({"local_disk": None, "remote_url": None}, ["cpu"]),
        ({"remote_url": "lm://a:1"}, ["cpu", "remote"]),
        ({"external_backends": []}, ["cpu"]),
    ],
)
def test_which_tiers_there_are(data: dict[str, Any], names: list[str]) -> None:
    """Without any key 5 GiB of CPU memory; a disk needs both its path and its size."""
    read = parse_lmcache(data, "here", 1)
    assert [tier.name for tier in read.tiers] == names
    assert (read.offload is None) == (not names)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "no key of LMCache is in it, got nothing"),
        ({"format": "rosin-kv/1", "name": "a"}, "no key of LMCache is in it, got format, name"),
        ({"chunk_size": "256"}, "chunk_size: "),
        ({"chunk_size": 0}, "chunk_size: must be at least 1, got 0"),
        ({"local_cpu": 1}, "local_cpu: "),
        ({"max_local_cpu_size": -1}, "max_local_cpu_size: must be at least 0"),
        ({"max_local_cpu_size": True}, "max_local_cpu_size: "),
        ({"cache_policy": "lrru"}, "cache_policy: no policy 'lrru'; did you mean 'lru'"),
        ({"local_cpu": False, "remote_url": "lm://a:1"}, "remote without CPU memory before it"),
        (
            {"remote_url": "lm://a:1", "remote_serde": "kivi"},
            "remote_serde: kivi makes KV smaller: a serving file must state the compression",
        ),
        ({"external_backends": ["a"]}, "storage_plugins would change the answer"),
        ({"enable_pd": True, "enable_p2p": True}, r"enable_pd would .* \(so must enable_p2p\)"),
    ],
)
def test_a_wrong_file_is_one_line(data: dict[str, Any], message: str) -> None:
    """File, key, value."""
    with pytest.raises(InputError, match=f"^here: {message}") as caught:
        parse_lmcache(data, "here", 1)
    assert "\n" not in str(caught.value)


def test_a_compressed_store_takes_its_factor_from_the_serving_file() -> None:
    """KV is as large as it is, but where the file names a serialisation and a factor is stated."""
    stated = [TierSpec.model_validate({"name": "remote", "compression": {"factor": 3.0}})]
    file = {"remote_url": "lm://a:1"}
    plain = parse_lmcache(file, "here", 1, stated).tiers[1]
    smaller = parse_lmcache(file | {"remote_serde": "cachegen"}, "here", 1, stated).tiers[1]
    assert plain.compression is None
    assert smaller.compression == stated[0].compression


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    """As its mapping; the words before the server's command are no mapping."""
    path = tmp_path / "lmcache.yaml"
    path.write_text(yaml.safe_dump(PLAIN), encoding="utf-8")
    assert load_lmcache(path, 4) == parse_lmcache(PLAIN, "here", 4)
    path.write_text("lmcache server --host a", encoding="utf-8")
    with pytest.raises(InputError, match="a configuration file is a YAML mapping, got str"):
        load_lmcache(path, 4)


def test_defaults_are_lmcaches_own() -> None:
    """Of the keys that are priced and of those that are fixed."""
    config = pytest.importorskip(
        "lmcache.v1.config", reason="needs lmcache 0.5.6, see docs/how-to/kv-tiers.md"
    )
    own = {key: said["default"] for key, said in config._CONFIG_DEFINITIONS.items()}
    ours = LmcacheKeys().model_dump() | dict(FIXED_KEYS)
    ours["cache_policy"] = ours["cache_policy"].upper()
    assert ours == {key: own[key] for key in ours}
    old = {key for key in config._DEPRECATED_CONFIGS if key in config._CONFIG_ALIASES}
    assert dict(RENAMED_KEYS) == {key: config._CONFIG_ALIASES[key] for key in old}
    assert OffloadSpec().chunk_tokens == own["chunk_size"]
