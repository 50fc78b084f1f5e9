"""Files that people write: whatever is valid is read as it was written, and a slip in a key is named."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hwprofiles import InputError, write_yaml
from planner.serving.kv_tiers import FORMAT, KvTiers, load_kv_tiers
from planner.study.axes import parse_axes
from planner.study.prices import load_prices
from sim.serving.kv.eviction.library import EVICTIONS
from sim.serving.spec import ServingSpec, load_serving
from sim.workload.requests import RequestsSpec, load_requests

RATES = st.builds(
    lambda rate, latency: {"bytes_per_s": rate, "latency_ns": latency},
    st.floats(1, 1e12),
    st.floats(0, 1e9),
)
SIZES = st.integers(1, 10**15)
NAMES = st.text("abc-", min_size=1, max_size=8)


def _some(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of the keys."""
    return st.fixed_dictionaries({}, optional=parts)


TIERS = st.lists(
    _some(
        capacity_bytes=SIZES,
        read=RATES,
        write=RATES,
        policy=st.sampled_from(sorted(EVICTIONS)),
        is_duplex=st.booleans(),
        is_shared=st.booleans(),
        compression=_some(encode_bytes_per_s=st.floats(1, 1e12)).map(
            lambda part: part | {"factor": 2.0}
        ),
    ),
    min_size=1,
    max_size=3,
).map(lambda tiers: [tier | {"name": f"t{index}"} for index, tier in enumerate(tiers)])
INSTANCE = _some(
    num_gpus=st.integers(1, 64),
    max_step_tokens=st.integers(512, 10**5),
    max_sequences=st.integers(1, 512),
    block_tokens=st.integers(1, 512),
    has_prefix_cache=st.booleans(),
    kv_tokens=st.integers(1, 10**7),
    all_reduce=RATES,
)
OFFLOAD = _some(
    chunk_tokens=st.integers(1, 4096),
    min_retrieve_tokens=st.integers(0, 4096),
    loading=st.sampled_from(["always", "cheaper"]),
    is_layerwise=st.booleans(),
    prefetches=st.booleans(),
    touch_order=st.sampled_from(["tail-first", "head-first"]),
)
SERVING = _some(
    num_instances=st.integers(1, 100),
    balancing=st.sampled_from(["least-live", "cache-and-load"]),
    instance=INSTANCE,
    tiers=TIERS,
).flatmap(
    lambda made: OFFLOAD.map(lambda part: made | ({"offload": part} if "tiers" in made else {}))
)
LENGTHS = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(1, 10**5), "output_tokens": st.integers(1, 10**4)}
)
ARRIVALS = st.sampled_from(["even", "poisson"]).flatmap(
    lambda process: st.floats(1e-3, 1e3).map(
        lambda rate: {"process": process, "requests_per_s": rate}
    )
) | st.integers(1, 64).map(lambda count: {"process": "closed", "in_flight": count})
REQUESTS = st.builds(
    lambda name, count, lengths, arrivals: {
        "format": "rosin-requests/1",
        "name": name,
        "source": "a test",
        "date": "2026",
        "num_requests": count,
        "lengths": lengths,
        "arrivals": arrivals,
    },
    NAMES,
    st.integers(1, 1000),
    LENGTHS,
    ARRIVALS,
)
KV = st.builds(
    lambda name, ranks, size, optional: (
        {
            "format": FORMAT,
            "name": name,
            "num_ranks": ranks,
            "host_bytes_per_rank": size,
        }
        | optional
    ),
    NAMES,
    st.integers(1, 64),
    SIZES,
    _some(
        chunk_tokens=st.integers(1, 4096),
        policy=st.sampled_from(["lru", "lfu", "fifo", "mru"]),
        disk=SIZES.map(lambda size: {"path": "/mnt/kv", "bytes_per_rank": size}),
        remote=st.just({"url": "redis://a:1"}),
        layerwise=st.booleans(),
        saves_answers=st.booleans(),
    ),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for all examples."""
    return tmp_path_factory.mktemp("files") / "file.yaml"


def _dumped(part: BaseModel) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_none=True)


@given(made=SERVING)
def test_a_serving_file(made: dict[str, Any], path: Path) -> None:
    """Written with every key and read again, or as it was typed: one and the same."""
    spec = ServingSpec.model_validate(made)
    write_yaml(_dumped(spec), path)
    assert load_serving(path, {}, {}) == spec
    path.write_text(yaml.safe_dump(made | {"format": "rosin-serving/1"}), encoding="utf-8")
    assert load_serving(path, {}, {}) == spec


@given(made=SERVING, size=SIZES, count=st.integers(1, 9))
def test_changes_to_a_serving_file(made: dict[str, Any], size: int, count: int, path: Path) -> None:
    """A key set and a tier sized are as if the file said so; the rest stays."""
    path.write_text(yaml.safe_dump(made | {"format": "rosin-serving/1"}), encoding="utf-8")
    changed = load_serving(path, {"instance.num_gpus": count}, {"t0": str(size)})
    instance = made.get("instance", {}) | {"num_gpus": count}
    first, *others = made.get("tiers") or [{"name": "t0"}]
    meant = made | {"instance": instance, "tiers": [first | {"capacity_bytes": size}, *others]}
    assert changed == ServingSpec.model_validate(meant)


@given(made=REQUESTS)
def test_a_request_file(made: dict[str, Any], path: Path) -> None:
    """Its requests are as many and as long as it says, and the same each time."""
    path.write_text(yaml.safe_dump(made), encoding="utf-8")
    spec = load_requests(str(path))
    assert isinstance(spec, RequestsSpec)
    assert spec.name == made["name"]
    first, again = (list(spec.requests()) for _ in range(2))
    assert first == again
    assert len(first) == made["num_requests"]
    lengths = made["lengths"]
    assert {(each.prompt_tokens, each.output_tokens) for each in first} == {
        (lengths["prompt_tokens"], lengths["output_tokens"])
    }
    assert [each.number for each in first] == list(range(len(first)))


@given(made=KV)
def test_a_file_of_tiers(made: dict[str, Any], path: Path) -> None:
    """Read, written and read again."""
    path.write_text(yaml.safe_dump(made), encoding="utf-8")
    tiers = load_kv_tiers(path)
    assert tiers.host_bytes == made["num_ranks"] * made["host_bytes_per_rank"]
    write_yaml(_dumped(tiers), path)
    assert load_kv_tiers(path) == tiers


@given(
    kind=st.sampled_from([(ServingSpec, "serving"), (KvTiers, "kv")]),
    data=st.data(),
)
def test_a_slip_in_a_key_is_named(
    kind: tuple[type[BaseModel], str], data: st.DataObject, path: Path
) -> None:
    """A key with its last letter doubled: the line has the file, the key and the right one."""
    model, name = kind
    made = data.draw(SERVING if name == "serving" else KV)
    key = data.draw(st.sampled_from(sorted(set(model.model_fields) - {"format", "name"})))
    slip = key + key[-1]
    head = made | ({"format": "rosin-serving/1"} if name == "serving" else {})
    path.write_text(yaml.safe_dump(head | {slip: 1}), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_serving(path, {}, {}) if name == "serving" else load_kv_tiers(path)
    assert str(caught.value) == f"{path}: unknown key {slip}; did you mean {key!r}?"


@given(
    base=st.none() | st.integers(0, 10**6),
    batch=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    own=st.none() | st.floats(0, 1e6),
)
def test_prices_add_up(
    base: int | None, batch: tuple[float, float], own: float | None, path: Path
) -> None:
    """The base, else the machine's own price, and what the tables say of each value."""
    axes = parse_axes(["batch=1,2"])
    tables = {"batch": {"1": batch[0], "2": batch[1]}}
    head = {"format": "rosin-prices/1"} | ({} if base is None else {"base_usd": base})
    path.write_text(yaml.safe_dump(head | tables), encoding="utf-8")
    prices = load_prices(path, axes)
    for value, price in zip(axes[0].values, batch, strict=True):
        before = own if base is None else base
        assert prices.price_usd(axes, [value], own) == pytest.approx((before or 0.0) + price)
