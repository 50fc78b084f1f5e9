"""Caches of experts inside runtimes: lanes that share memory, miss rates, arguments, prices."""

from dataclasses import replace

import pytest

from hwprofiles import InputError
from sim.model.library import load_model
from sim.runtimes.caching.arguments import read_caching_arguments
from sim.runtimes.caching.experts import CachedExperts, MissRule
from sim.runtimes.caching.lanes import ExpertLanes, estimated_both
from sim.runtimes.caching.locality import locality_of, shipped_locality
from sim.runtimes.caching.pricing import CachedStep, CacheRates, cached_decode
from sim.runtimes.constants import shipped_constants
from sim.runtimes.predict import predict
from tests.sim.runtimes.examples import question, qwen

GB = 1e9
APART = ExpertLanes(cpu_bytes_per_s=50 * GB, link_bytes_per_s=25 * GB, both_bytes_per_s=75 * GB)
SHARED = replace(APART, both_bytes_per_s=50 * GB)


def _priced(cached: CachedExperts, both_bytes_per_s: float | None = None) -> CachedStep:
    return cached_decode(
        question("-ngl 99 -cmoe"),
        cached,
        locality_of("qwen3-30b-a3b"),
        CacheRates(both_bytes_per_s=both_bytes_per_s),
        shipped_constants(),
    )


def test_lanes_that_share_nothing_take_the_longer() -> None:
    """Both lanes run at full speed where their sum is what both reach at once."""
    assert APART.seconds(50 * GB, 25 * GB) == pytest.approx(1.0)
    assert APART.seconds(50 * GB, 0.0) == APART.seconds(25 * GB, 12.5 * GB) * 2


def test_lanes_that_share_memory_move_what_both_reach() -> None:
    """While both work, bytes move at the rate of both at once; then one goes on alone."""
    assert SHARED.seconds(50 * GB, 25 * GB) == pytest.approx(75 / 50)
    assert SHARED.seconds(100 * GB, 25 * GB) == pytest.approx(75 / 50 + 1.0)


def test_estimated_rate_of_both_is_near_the_faster() -> None:
    """Where nothing is measured, both at once reach about what the faster reaches alone."""
    assert estimated_both(60 * GB, 25 * GB) == pytest.approx(60 * GB, rel=0.05)


@pytest.mark.parametrize("model", sorted(shipped_locality().models))
def test_misses_are_the_published_ones(model: str) -> None:
    """The law of misses passes within 15 % of each published point."""
    known = shipped_locality().models[model]
    for share, misses in zip(known.shares, known.optimum_misses, strict=True):
        assert locality_of(model).misses("optimum", share) == pytest.approx(misses, rel=0.15)


@pytest.mark.parametrize("policy", sorted(shipped_locality().policies.over_optimum))
def test_misses_fall_with_the_cache(policy: str) -> None:
    """A larger cache never misses more, and a whole one never."""
    locality = locality_of("another model")
    misses = [locality.misses(policy, share / 20) for share in range(21)]
    assert misses == sorted(misses, reverse=True)
    assert misses[0] == 1.0
    assert misses[-1] == 0.0


def test_split_is_never_slower_than_either_side() -> None:
    """The best split of misses costs no more on the lanes than all on the CPU or all on the link."""
    decayed = CachedExperts(policy="decayed", share=0.25, misses=MissRule.SPLIT)
    best = _priced(decayed).seconds
    for misses in (MissRule.CPU, MissRule.FETCH):
        other = _priced(replace(decayed, misses=misses)).seconds
        assert best.cpu_experts <= other.cpu_experts + other.upload


def test_admitting_every_miss_costs_memory() -> None:
    """At equal hits, an LRU that copies computed misses as well is slower than a fixed set."""
    fixed = CachedExperts(policy="static", share=0.25, misses=MissRule.CPU, hit_fraction=0.7)
    assert _priced(replace(fixed, policy="lru")).tokens_per_s < _priced(fixed).tokens_per_s


def test_whole_cache_leaves_the_cpu_alone() -> None:
    """With every expert cached nothing misses: neither lane works."""
    step = _priced(CachedExperts(policy="lru", share=1.0, misses=MissRule.CPU))
    assert step.miss_fraction == 0
    assert step.seconds.cpu_experts == 0
    assert step.seconds.crossings == 0


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


def test_larger_cache_of_llama_cpp_is_faster() -> None:
    """--moe-cache-mib: a larger cache misses less and copies less; its copies are not free."""
    speeds = [
        predict(question(f"-ngl 99 -cmoe --moe-cache-mib {size}")).decode
        for size in (1024, 4096, 12288)
    ]
    rates = [speed.tokens_per_s for speed in speeds]
    assert rates == sorted(rates)
    assert speeds[0].seconds["upload"] > speeds[-1].seconds["upload"] > 0
