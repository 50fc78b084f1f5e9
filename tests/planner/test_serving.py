"""The plan for serving: tiers where they help, none where they do not."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError, load_machine
from hwprofiles.units import GIB
from planner.export.kv import lmcache_text, parse_lmcache
from planner.serving.kv_tiers import kv_tiers_of
from planner.serving.offload import plan_serving
from planner.serving.running import is_within, num_keeping_ranks, running_spec
from planner.serving.serving_plan import ServingPlan, ServingQuestion, TargetMissed
from planner.serving.target import ServingTarget
from sim.costs.memory import Infeasible
from sim.model.library import load_model
from sim.serving import Cluster, prepare, serve, source_of
from sim.serving.offload_options import Loading, OffloadSpec
from sim.serving.setting import serving_setting
from sim.serving.spec import ServingSpec
from sim.workload.requests.spec import RequestsSpec

TALKS = {
    "num_users": 6,
    "num_rounds": 5,
    "system_tokens": 0,
    "history_tokens": 6000,
    "question_tokens": 20,
    "answer_tokens": 20,
}
REQUESTS = RequestsSpec.model_validate(
    {
        "name": "talks",
        "source": "made up for tests",
        "date": "2026",
        "num_requests": 40,
        "multi_round": TALKS | {"requests_per_s": 1.5},
    }
)
LATENT, GROUPED = (load_model(name) for name in ("deepseek-v2-lite", "llama-3.1-8b"))
HOST = {"name": "cpu", "capacity_bytes": "100GB"}


def _question(
    machine: str = "h100",
    model: str = "llama-3.1-8b",
    objective: str = "latency",
    target: ServingTarget | None = None,
    **offered: Any,
) -> ServingQuestion:
    return ServingQuestion(
        machine=load_machine(machine),
        model=load_model(model),
        requests=REQUESTS,
        offered=ServingSpec.model_validate(offered),
        objective=objective,
        target=target,
    )


def _plan(question: ServingQuestion) -> ServingPlan:
    found = plan_serving(question)
    assert isinstance(found, ServingPlan)
    return found


def test_offloading_is_left_off_where_the_gpu_holds_it_all() -> None:
    """440,000 tokens of KV hold six conversations of 6,000: storing them elsewhere gains nothing,
    and the plan says so.
    """
    found = _plan(_question(tiers=[HOST]))
    assert not found.uses_tiers and found.gain_fraction is not None and found.gain_fraction < 0.01


def test_tiers_are_used_where_the_gpu_is_too_small() -> None:
    """With room for two conversations of six, host memory saves most prompts; a fraction of what is
    offered is enough.
    """
    found = _plan(_question(tiers=[HOST], instance={"kv_tokens": 14_000}, objective="ttft"))
    assert found.uses_tiers and found.gain_fraction is not None and found.gain_fraction > 0.3
    size = found.best.spec.tiers[0].capacity_bytes
    assert size is not None and size < 100e9
    assert found.without_tiers.metrics.ttft_s.mean > found.best.metrics.ttft_s.mean


def test_shares_use_all_gpus() -> None:
    """Eight GPUs are one instance of eight, two of four, …; prefill and decode apart are tried
    where a link is offered.
    """
    apart = {"num_prefill": 1, "num_decode": 1, "link": {"bytes_per_s": 49e9, "latency_ns": 15e3}}
    found = _plan(_question("h100-x8", disaggregation=apart))
    shared = {(row.spec.num_instances, row.spec.instance.num_gpus) for row in found.rows}
    assert {(1, 8), (2, 4), (4, 2), (8, 1)} <= shared
    assert any(row.spec.disaggregation is not None for row in found.rows)
    assert found.gain_fraction is None and found.with_tiers is None


def test_the_best_is_no_worse_than_any_row_but_for_the_margin() -> None:
    """Rows are sorted, and the best is within 1 % of the first."""
    found = _plan(_question(tiers=[HOST], instance={"kv_tokens": 14_000}, objective="throughput"))
    rates = [row.metrics.request_throughput_per_s for row in found.rows]
    assert rates == sorted(rates, reverse=True)
    assert found.best.metrics.request_throughput_per_s >= 0.99 * rates[0]


def test_what_fits_nowhere_is_infeasible() -> None:
    """A model larger than the GPU: the typed answer, with the bytes that are missing."""
    found = plan_serving(_question(model="llama-3.3-70b"))
    assert isinstance(found, Infeasible) and found.missing_bytes > 0


def test_unknown_objectives_are_refused() -> None:
    """With those there are."""
    with pytest.raises(InputError, match="latency, ttft, tpot, throughput"):
        plan_serving(_question(objective="speed"))


def test_the_fewest_gpus_that_meet_a_target() -> None:
    """A target that one GPU meets takes one; just below the best of one GPU it takes two, and
    whatever has fewer GPUs misses it.
    """
    easy = _plan(_question("h100-x8", target=ServingTarget(max_ttft_s=100, max_itl_s=100)))
    assert easy.best.num_gpus == 1 and easy.best.meets_target
    reached_s = min(row.metrics.ttft_s.p90 for row in easy.rows if row.num_gpus == 1)
    harder = _plan(_question("h100-x8", target=ServingTarget(max_ttft_s=0.999 * reached_s)))
    assert harder.best.num_gpus > 1 and harder.best.metrics.ttft_s.p90 < reached_s
    assert harder.rows[0].num_gpus == harder.best.num_gpus
    assert all(
        row.meets_target == (row.metrics.ttft_s.p90 <= 0.999 * reached_s) for row in harder.rows
    )
    assert not any(row.meets_target for row in harder.rows if row.num_gpus < harder.best.num_gpus)


def test_tiers_may_save_gpus() -> None:
    """Where the GPU is too small for the conversations, a target between the best with and without
    host memory takes the tier.
    """
    both = _plan(_question("h100", tiers=[HOST], instance={"kv_tokens": 14_000}, objective="ttft"))
    assert both.with_tiers is not None
    between_s = (both.with_tiers.metrics.ttft_s.p90 + both.without_tiers.metrics.ttft_s.p90) / 2
    target = ServingTarget(max_ttft_s=between_s)
    found = _plan(
        _question(
            "h100-x8", target=target, tiers=[HOST], instance={"kv_tokens": 14_000}, objective="ttft"
        )
    )
    assert found.best.num_gpus == 1 and found.uses_tiers and not found.without_tiers.meets_target


def test_a_target_out_of_reach_comes_with_the_nearest() -> None:
    """A microsecond cannot be met: the answer is what comes nearest, of all GPUs that the machine
    has.
    """
    found = plan_serving(_question("h100-x8", target=ServingTarget(max_itl_s=1e-6)))
    assert isinstance(found, TargetMissed) and found.nearest.metrics.tpot_s is not None
    assert found.nearest.spec.instance.num_gpus == 8
    assert found.nearest.excess_fraction == pytest.approx(
        found.nearest.metrics.tpot_s.p90 / 1e-6 - 1
    )


def test_targets_and_shares_that_cannot_be_are_refused() -> None:
    """A limit of nothing, and three instances of eight GPUs where all are to be used alike."""
    with pytest.raises(InputError, match="`max_ttft_s` must be above 0"):
        ServingTarget(max_ttft_s=0)
    with pytest.raises(InputError, match="equal share of the 8 GPUs"):
        plan_serving(_question("h100-x8", num_instances=3))


def test_who_is_turned_away_is_not_served_in_time() -> None:
    """Conversations that only several GPUs together can hold: one GPU meets no target, however
    quick its few answers are.
    """
    target = ServingTarget(max_ttft_s=1000)
    found = _plan(
        _question(
            "h100-x8", model="llama-3.3-70b", target=target, instance={"gpu_memory_fraction": 0.95}
        )
    )
    rejected = {row.num_gpus: row.metrics.num_rejected_requests for row in found.rows}
    assert found.best.metrics.num_rejected_requests == 0 and found.best.num_gpus == min(
        n for n, count in rejected.items() if not count
    )


def test_blending_is_kept_in_a_plan() -> None:
    """With ``offload.blend`` only rules that go with it are tried."""
    disk = {"name": "disk", "read": {"bytes_per_s": 5e9}, "write": {"bytes_per_s": 5e9}}
    found = _plan(
        _question(
            tiers=[HOST, disk],
            offload={"blend": {}},
            instance={"kv_tokens": 14_000},
            objective="ttft",
        )
    )
    offers = [row.spec.offload for row in found.rows if row.spec.tiers]
    assert offers and all(
        offload is not None and offload.blend is not None and not offload.prefetches
        for offload in offers
    )


SMALL_GPU = {"kv_tokens": 14_000}


def _beside(gib: float, **asked: Any) -> ServingPlan:
    """The plan beside so much of host memory for each rank, under LMCache's defaults."""
    question = _question(instance=SMALL_GPU, objective="ttft", **asked)
    offered = question.offered
    read = parse_lmcache({"max_local_cpu_size": gib}, "here", 1)
    against = running_spec(offered, question.machine, read.tiers, read.offload)
    return _plan(replace(question, against=against))


def test_what_is_run_today_is_served_beside_the_plan() -> None:
    """Too little host memory loses much; its row is its own run, and the gain is that of the best."""
    plan = _beside(0.25, tiers=[HOST])
    assert plan.against is not None and plan.gain_over_against_fraction is not None
    alone = serving_setting(
        plan.against.spec, load_machine("h100"), load_model("llama-3.1-8b"), "here"
    )
    cluster = prepare(alone)
    assert isinstance(cluster, Cluster)
    assert serve(cluster, source_of(REQUESTS, 0)).metrics == plan.against.metrics
    ttft_s = plan.against.metrics.ttft_s.mean
    gained = 1 - plan.best.metrics.ttft_s.mean / ttft_s
    assert plan.gain_over_against_fraction == pytest.approx(gained) and gained > 0.2
    assert plan.against.label == "what you run"


def test_no_plan_is_worse_than_what_is_run_within_what_is_offered() -> None:
    """It is a candidate, but for what has more than was offered, which may be better."""
    within = _beside(50, tiers=[HOST])
    assert within.gain_over_against_fraction is not None
    assert within.gain_over_against_fraction >= -0.0101
    beyond = _beside(50, tiers=[HOST | {"capacity_bytes": "100MB"}])
    assert beyond.gain_over_against_fraction is not None
    assert beyond.gain_over_against_fraction < -0.2
    assert all(row.label != "what you run" for row in beyond.rows)


def test_what_a_plan_exports_is_as_good_as_the_plan() -> None:
    """The best that always loads, written for LMCache and read again, is the same run."""
    found = _plan(_question(tiers=[HOST], instance=SMALL_GPU, objective="ttft"))
    best = next(
        row
        for row in found.rows
        if row.spec.tiers and (row.spec.offload or OffloadSpec()).loading is Loading.ALWAYS
    )
    text = lmcache_text(kv_tiers_of(best.spec, "best", num_ranks=1))
    read = parse_lmcache(yaml.safe_load(text), "here", 1)
    question = _question(tiers=[HOST], instance=SMALL_GPU, objective="ttft")
    against = running_spec(question.offered, question.machine, read.tiers, read.offload)
    again = _plan(replace(question, against=against))
    assert again.against is not None
    assert again.against.metrics == best.metrics


@given(
    num_instances=st.sampled_from([1, 2, 4, 8]),
    num_gpus=st.none() | st.sampled_from([1, 2]),
    gib=st.floats(0.5, 500),
    offered_gib=st.floats(0.5, 500),
)
def test_what_is_run_has_the_instances_that_are_stated(
    num_instances: int, num_gpus: int | None, gib: float, offered_gib: float
) -> None:
    """Ranks of latent KV are one, whatever the GPUs; a tier is within what is offered up to its size."""
    machine = load_machine("h100-x8")
    offered = ServingSpec.model_validate(
        {"num_instances": num_instances, "instance": {"num_gpus": num_gpus}}
    )
    size = {"name": "cpu", "capacity_bytes": gib * GIB}
    tiers = ServingSpec.model_validate({"tiers": [size]}).tiers
    spec = running_spec(offered, machine, tiers, None)
    assert spec.num_instances == num_instances
    assert spec.instance.num_gpus == (num_gpus or 8 // num_instances)
    assert num_keeping_ranks(offered, machine, LATENT) == 1
    assert num_keeping_ranks(offered, machine, GROUPED) == spec.instance.num_gpus
    more = ServingSpec.model_validate({"tiers": [size | {"capacity_bytes": offered_gib * GIB}]})
    assert is_within(spec, more) == (gib * GIB <= offered_gib * GIB)
    assert not is_within(spec, offered)
