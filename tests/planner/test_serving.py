"""The plan for serving: tiers where they help, none where they do not."""

from typing import Any

import pytest

from hwprofiles import InputError, load_machine
from planner.serving.offload import plan_serving
from planner.serving.serving_plan import ServingPlan, ServingQuestion, TargetMissed
from planner.serving.target import ServingTarget
from sim.costs.memory import Infeasible
from sim.model.library import load_model
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
