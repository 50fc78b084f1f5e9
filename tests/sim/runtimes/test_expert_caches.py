"""Caches of experts inside runtimes: lanes that share memory, miss rates, arguments, prices."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.model.library import load_model
from sim.runtimes.caching.arguments import read_caching_arguments
from sim.runtimes.caching.experts import CachedExperts, MissRule
from sim.runtimes.caching.lanes import ExpertLanes, estimated_both
from sim.runtimes.caching.locality import (
    KNOWN_SPREAD,
    MEASURED_SPREAD,
    UNKNOWN_SPREAD,
    locality_of,
    shipped_locality,
)
from sim.runtimes.caching.measured_routing import measured_routing
from sim.runtimes.caching.pricing import CachedStep, CacheRates, cached_decode
from sim.runtimes.constants import shipped_constants
from sim.runtimes.predict import predict
from tests.sim.runtimes.examples import question, qwen

GB = 1e9


def _priced(cached: CachedExperts, both_bytes_per_s: float | None = None) -> CachedStep:
    return cached_decode(
        question("-ngl 99 -cmoe"),
        cached,
        locality_of("qwen3-30b-a3b"),
        CacheRates(both_bytes_per_s=both_bytes_per_s),
        shipped_constants(),
    )


def test_estimated_rate_of_both_is_near_the_faster() -> None:
    """Where nothing is measured, both at once reach about what the faster reaches alone."""
    assert estimated_both(60 * GB, 25 * GB) == pytest.approx(60 * GB, rel=0.05)


@pytest.mark.parametrize("model", sorted(shipped_locality().models))
def test_misses_are_the_published_ones(model: str) -> None:
    """The law of misses passes within 15 % of each published point."""
    known = shipped_locality().models[model]
    for share, misses in zip(known.shares, known.optimum_misses, strict=True):
        assert locality_of(model).misses("optimum", share) == pytest.approx(misses, rel=0.15)


@pytest.mark.parametrize("model", sorted(measured_routing().models))
def test_misses_of_measured_routing(model: str) -> None:
    """Without a published replay a model has the misses of a stream with its own routing, by a law
    within 15 % of each; with one, that.
    """
    routing = measured_routing()
    found = locality_of(model)
    if model in shipped_locality().models:
        assert found.spread == KNOWN_SPREAD
        return
    assert found.spread == MEASURED_SPREAD < UNKNOWN_SPREAD
    own = routing.models[model].optimum_misses
    for share, misses in zip(routing.cached, own, strict=True):
        assert found.misses("optimum", share) == pytest.approx(misses, rel=0.15)


def test_the_spread_of_measured_routing_is_that_of_published_replays() -> None:
    """Streams of measured routing are as far from published replays as their spread says."""
    routing = measured_routing()
    place = routing.cached.index(0.25)
    ratios = [
        routing.models[model].optimum_misses[place] / known.optimum_misses[known.shares.index(0.25)]
        for model, known in shipped_locality().models.items()
        if model in routing.models
    ]
    assert len(ratios) == 3
    assert np.sqrt(np.mean(np.log(ratios) ** 2)) == pytest.approx(MEASURED_SPREAD, abs=0.005)


def test_admitting_every_miss_costs_memory() -> None:
    """At equal hits, an LRU that copies computed misses as well is slower than a fixed set."""
    fixed = CachedExperts(policy="static", share=0.25, misses=MissRule.CPU, hit_fraction=0.7)
    assert _priced(replace(fixed, policy="lru")).tokens_per_s < _priced(fixed).tokens_per_s


def test_ranks_wait_for_shared_cores() -> None:
    """FreeToken's ranks pin their threads to the same cores, which costs slices of the scheduler."""
    one = CachedExperts(policy="lru", share=0.1, misses=MissRule.SHARED)
    assert _priced(replace(one, num_ranks=2)).tokens_per_s < _priced(one).tokens_per_s / 2


@pytest.mark.parametrize(
    ("runtime", "line", "expected"),
    [
        ("freetoken", "--moe-backend offload --moe-cache-rate 0.25", ("lru", 0.25, "fetch")),
        ("freetoken", "--moe-backend hybrid --moe-cache-size 3072", ("lru", 0.5, "shared")),
        ("llama.cpp-expert-cache", "LLAMA_EC_SLOTS=32 -ngl 99", ("decayed", 0.25, "cpu")),
        (
            "llama.cpp-expert-cache",
            "LLAMA_EC_POLICY=lru LLAMA_EC_SLOTS=64 LLAMA_EC_FETCH=0,1,1 -t 16",
            ("lru", 0.5, "split"),
        ),
        (
            "llama.cpp-expert-cache",
            "LLAMA_EC_FETCH=0,0 LLAMA_EC_SLOTS=32",
            ("decayed", 0.25, "cpu"),
        ),
        (
            "llama.cpp-static-expert-cache",
            "--n-cpu-moe 99 --moe-cache-slots 64",
            ("static", 0.5, "cpu"),
        ),
    ],
)
def test_arguments_are_read(runtime: str, line: str, expected: tuple[str, float, str]) -> None:
    """Policy, share and what happens on a miss come out of each program's own words."""
    cached = read_caching_arguments(runtime, line, qwen()).cached
    assert (cached.policy, cached.share, cached.misses.value) == expected


def test_pooled_cache_is_counted_in_mebibytes() -> None:
    """--moe-cache is a share of all experts' bytes."""
    model = load_model("qwen3-30b-a3b", "BF16")
    held = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
    line = f"-ngl 99 --cpu-moe --moe-cache {held // 4 // 2**20}"
    cached = read_caching_arguments("llama.cpp-moe-cache", line, model).cached
    assert cached.share == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--moe-backend hybird", "did you mean 'hybrid'"),
        ("--moe-cache-rate", "a value must follow"),
        ("--moe-cache-rate much", "a number of at least 0 is needed"),
        ("--moe-cache-rate 'a", "no closing quotation"),
    ],
)
def test_mistakes_in_arguments(line: str, message: str) -> None:
    """Each mistake is one line that says what would be right."""
    with pytest.raises(InputError, match=message):
        read_caching_arguments("freetoken", line, qwen())


RATES = st.floats(1e8, 1e12)
SIZES = st.just(0.0) | st.floats(1e3, 1e12)
CACHE_POLICIES = st.sampled_from(sorted(shipped_locality().policies.over_optimum))
SHARES = st.floats(0, 1)


@given(RATES, RATES, RATES, SIZES, SIZES)
def test_lanes_move_what_both_reach(
    cpu_rate: float, link_rate: float, both: float, by_cpu: float, by_link: float
) -> None:
    """While both work, bytes move at the rate of both at once, or each at its own where that is
    slower; then the longer one goes on alone.
    """
    lanes = ExpertLanes(cpu_bytes_per_s=cpu_rate, link_bytes_per_s=link_rate, both_bytes_per_s=both)
    alone = (by_cpu / cpu_rate, by_link / link_rate)
    found = lanes.seconds(by_cpu, by_link)
    # While both work, they move bytes in proportion to their rates.
    together_s = min(alone) * (cpu_rate + link_rate) / min(both, cpu_rate + link_rate)
    assert found == pytest.approx(together_s + max(alone) - min(alone))
    assert found >= max(alone) * (1 - 1e-12)
    if both >= cpu_rate + link_rate:
        assert found == pytest.approx(max(alone))


@given(RATES, RATES, RATES, SIZES, SIZES, st.floats(1, 1e3))
def test_lanes_have_no_scale(
    cpu_rate: float, link_rate: float, both: float, by_cpu: float, by_link: float, factor: float
) -> None:
    """More bytes take longer in proportion; faster lanes are shorter in proportion."""
    rates = {"cpu_bytes_per_s": cpu_rate, "link_bytes_per_s": link_rate, "both_bytes_per_s": both}
    lanes = ExpertLanes(**rates)
    faster = ExpertLanes(**{name: rate * factor for name, rate in rates.items()})
    seconds = lanes.seconds(by_cpu, by_link)
    assert lanes.seconds(by_cpu * factor, by_link * factor) == pytest.approx(seconds * factor)
    assert faster.seconds(by_cpu, by_link) == pytest.approx(seconds / factor)


@given(
    CACHE_POLICIES, st.sampled_from(["another model", *shipped_locality().models]), SHARES, SHARES
)
def test_misses_fall_with_the_cache(policy: str, model: str, share: float, other: float) -> None:
    """A larger cache never misses more; none misses always and a whole one never; the optimum misses
    least.
    """
    locality = locality_of(model)
    fewer, more = (locality.misses(policy, each) for each in sorted((share, other)))
    assert 0 <= more <= fewer <= 1
    assert locality.misses("optimum", share) <= locality.misses(policy, share)
    assert (locality.misses(policy, 0.0), locality.misses(policy, 1.0)) == (1.0, 0.0)


@given(CACHE_POLICIES, SHARES, st.none() | RATES)
@settings(max_examples=30)
def test_split_is_never_slower_than_either_side(
    policy: str, share: float, both_bytes_per_s: float | None
) -> None:
    """The best split of misses costs no more on the lanes than all on the CPU or all on the link."""
    cached = CachedExperts(policy=policy, share=share, misses=MissRule.SPLIT)
    best = _priced(cached, both_bytes_per_s).seconds
    for misses in (MissRule.CPU, MissRule.FETCH):
        other = _priced(replace(cached, misses=misses), both_bytes_per_s).seconds
        assert best.cpu_experts <= (other.cpu_experts + other.upload) * (1 + 1e-9)


@given(CACHE_POLICIES, st.sampled_from([rule for rule in MissRule if rule != MissRule.STREAM]))
@settings(max_examples=30)
def test_whole_cache_leaves_the_cpu_alone(policy: str, misses: MissRule) -> None:
    """With every expert cached nothing misses: neither lane works."""
    step = _priced(CachedExperts(policy=policy, share=1.0, misses=misses))
    assert step.miss_fraction == 0
    assert step.seconds.cpu_experts == 0
    assert step.seconds.crossings == 0


@given(st.integers(1, 12_288), st.integers(1, 12_288))
@settings(max_examples=30)
def test_larger_cache_of_llama_cpp_is_faster(size: int, other: int) -> None:
    """--moe-cache-mib: a larger cache misses less and copies less; its copies are not free."""
    small, large = (
        predict(question(f"-ngl 99 -cmoe --moe-cache-mib {each}")).decode
        for each in sorted((size, other))
    )
    assert small.tokens_per_s <= large.tokens_per_s
    assert small.seconds["upload"] >= large.seconds["upload"] > 0
