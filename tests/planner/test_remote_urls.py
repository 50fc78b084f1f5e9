"""Addresses of remote stores: what LMCache takes, and nothing that it would stumble over."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from planner.export.kv.lmcache import lmcache_text
from planner.serving.kv_tiers import SCHEMES_WITH_PORTS, parse_kv_tiers

TIERS = {"format": "rosin-kv/1", "name": "a", "host_bytes_per_rank": 1e9}
TAKEN = [
    "lm://host:65432",
    "redis://host:6379",
    "redis://user:word@host:6379/0?timeout=5",
    "rediss://user:word@redis.example.com:6380/0",
    "unix:///run/redis.sock",
    "redis-sentinel://user:word@sentinel1:26379,sentinel2:26379/mymaster",
    "redis-sentinel://[::1]:26379",
    "infinistore://127.0.0.1:12345?device=mlx5_0",
    "audit://localhost:8080?verify=true",
    "fs://host:0/tmp/lmcache",
    "s3://bucket--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com",
    "sagemaker-hyperpod://host:9200",
    "blackhole://",
    "mock://100/?peeking_latency=1",
    "our_own+plugin.2://anything",
]
REFUSED = [
    ("host:5", "remote.url"),
    ("://host:5", "remote.url"),
    ("2fast://host:5", "remote.url"),
    ("redis://host 5", "remote.url"),
    (
        "redis-sentinel://h1,h2:26379",
        "every host of redis-sentinel:// needs its port, such as redis-sentinel://host:6379, got 'h1'",
    ),
]


HOSTS = st.lists(
    st.tuples(
        st.sampled_from(["h1", "10.0.0.7", "[::1]", "store.example.com"]),
        st.none() | st.integers(1, 65535),
    ),
    min_size=1,
    max_size=3,
)


@given(
    scheme=st.sampled_from(sorted(SCHEMES_WITH_PORTS)),
    hosts=HOSTS,
    user=st.sampled_from(["", "user:word@", "user:a,b:c@"]),
    ending=st.sampled_from(["", "/mymaster", "?timeout=5"]),
)
def test_every_host_needs_its_port(
    scheme: str, hosts: list[tuple[str, int | None]], user: str, ending: str
) -> None:
    """Of the schemes whose adapters ask for one, and of no other; passwords may hold anything."""
    place = ",".join(host if port is None else f"{host}:{port}" for host, port in hosts)
    is_whole = all(port is not None for _, port in hosts)
    url = f"{scheme}://{user}{place}{ending}"
    if is_whole:
        text = lmcache_text(parse_kv_tiers(TIERS | {"remote": {"url": url}}, "here"))
        assert yaml.safe_load(text)["remote_url"] == url
    else:
        with pytest.raises(InputError, match=f"every host of {scheme}:// needs its port"):
            parse_kv_tiers(TIERS | {"remote": {"url": url}}, "here")
    plain = f"redis://{user}{place}{ending}"
    assert parse_kv_tiers(TIERS | {"remote": {"url": plain}}, "here").remote is not None


@pytest.mark.parametrize("url", TAKEN)
def test_what_lmcache_takes(url: str) -> None:
    """The address is written as it is."""
    text = lmcache_text(parse_kv_tiers(TIERS | {"remote": {"url": url}}, "here"))
    assert yaml.safe_load(text)["remote_url"] == url


@pytest.mark.parametrize(("url", "message"), REFUSED)
def test_what_lmcache_does_not_take(url: str, message: str) -> None:
    """No scheme, a blank, or a host whose port LMCache would miss."""
    with pytest.raises(InputError, match="here: remote") as caught:
        parse_kv_tiers(TIERS | {"remote": {"url": url}}, "here")
    assert message in str(caught.value)
