"""The figures of a run at the serving scale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S
from sim.serving.instance import Instance
from sim.serving.prices import TICKS_PER_NS
from sim.serving.recorder import Recorder
from sim.serving.tier import KvTier

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}


class NothingAnswered(InputError):
    """The error that no request was answered: all are longer than an instance can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierUse:
    """The use of one tier, or of the instances' tiers of one name together; bytes are as stored.

    ``peak_bytes`` is the most that any one tier held; ``stored_bytes`` = evicted_bytes +
    held_bytes. Busy fractions are the largest of any one tier. For host memory, the copies between
    it and an instance's GPUs are what is busy.
    """

    name: str
    capacity_bytes: int | None
    peak_bytes: int
    held_bytes: int
    stored_bytes: int
    evicted_bytes: int
    read_bytes: int
    read_busy_fraction: float
    write_busy_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """A figure over all requests: its mean and percentiles (linearly interpolated)."""

    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingMetrics:
    """The figures of one run; units are in the names.

    ``queue_s`` is the wait for admission, part of ``ttft_s``. ``tpot_s`` is the mean time of a
    request's tokens after its first, over requests with more than one (None: there are none). Rates
    are over ``duration_s``, from the first arrival to the last end. ``kv_hit_rate`` is the share of
    prompt tokens whose KV was found, by tier. ``gpu_busy_fraction`` is the instances' mean.
    ``num_events`` counts the instants at which an instance did anything: steps that are alike are
    taken at once.
    """

    num_requests: int
    num_warmup_requests: int
    num_rejected_requests: int
    num_preemptions: int
    num_steps: int
    num_events: int
    duration_s: float
    queue_s: Percentiles
    ttft_s: Percentiles
    tpot_s: Percentiles | None
    end_to_end_s: Percentiles
    request_throughput_per_s: float
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    kv_hit_rate: dict[str, float]
    gpu_busy_fraction: float
    gpu_kv_peak_fraction: float
    gpu_kv_evicted_blocks: int
    tiers: tuple[TierUse, ...]


def measure_serving(
    recorder: Recorder, instances: Sequence[Instance], tiers: Sequence[KvTier] = ()
) -> ServingMetrics:
    """Return the metrics of a finished run. Raises NothingAnswered when no request was answered."""
    if not recorder.num_finished:
        raise NothingAnswered(
            f"no request was answered: {recorder.num_submitted} came, {recorder.num_rejected} are longer than the instance can hold"
        )
    assert recorder.first_arrival_ns is not None
    duration_s = (recorder.last_end_ns - recorder.first_arrival_ns) / NS_PER_S
    busy_s = sum(instance.clock.busy_ticks for instance in instances) / TICKS_PER_NS / NS_PER_S
    return ServingMetrics(
        num_requests=recorder.num_finished,
        num_warmup_requests=recorder.num_warmup_requests,
        num_rejected_requests=recorder.num_rejected,
        num_preemptions=recorder.num_preemptions,
        num_steps=sum(instance.clock.num_steps for instance in instances),
        num_events=sum(instance.clock.num_events for instance in instances),
        duration_s=duration_s,
        queue_s=_percentiles(recorder.queue_s),
        ttft_s=_percentiles(recorder.ttft_s),
        tpot_s=_percentiles(recorder.tpot_s) if recorder.tpot_s else None,
        end_to_end_s=_percentiles(recorder.end_to_end_s),
        request_throughput_per_s=recorder.num_finished / duration_s,
        prompt_tokens_per_s=recorder.prompt_tokens / duration_s,
        output_tokens_per_s=recorder.output_tokens / duration_s,
        kv_hit_rate={
            tier: tokens / recorder.prompt_tokens for tier, tokens in recorder.hit_tokens.items()
        },
        gpu_busy_fraction=busy_s / len(instances) / duration_s,
        gpu_kv_peak_fraction=max(
            instance.peak_blocks / instance.pool.num_blocks for instance in instances
        ),
        gpu_kv_evicted_blocks=sum(instance.pool.num_evictions for instance in instances),
        tiers=tuple(_tier_uses(tiers, instances, duration_s)),
    )


def _tier_uses(
    tiers: Sequence[KvTier], instances: Sequence[Instance], duration_s: float
) -> Iterator[TierUse]:
    offloads = [instance.offload for instance in instances if instance.offload is not None]
    # Tiers that are not shared exist once for each instance: one row for all of a name.
    for name in dict.fromkeys(tier.name for tier in tiers):
        same = [tier for tier in tiers if tier.name == name]
        size = same[0].stored_bytes
        # Host memory itself is never waited for; what is busy are the copies between it and the
        # GPUs.
        is_host = same[0] is tiers[0]
        reads = (
            [offload.copies_in for offload in offloads]
            if is_host
            else [tier.reads for tier in same]
        )
        writes = (
            [offload.copies_out for offload in offloads]
            if is_host
            else [tier.writes for tier in same]
        )
        yield TierUse(
            name=name,
            capacity_bytes=same[0].capacity_bytes,
            peak_bytes=max(tier.peak_bytes for tier in same),
            held_bytes=sum(tier.store.held_bytes for tier in same),
            stored_bytes=size * sum(tier.num_stored for tier in same),
            evicted_bytes=size * sum(tier.store.num_evictions for tier in same),
            read_bytes=size * sum(tier.num_read for tier in same),
            read_busy_fraction=max(link.busy_ns for link in reads) / NS_PER_S / duration_s,
            write_busy_fraction=max(link.busy_ns for link in writes) / NS_PER_S / duration_s,
        )


def _percentiles(values: Sequence[float]) -> Percentiles:
    found = np.asarray(values)
    return Percentiles(
        mean=float(found.mean()),
        **{name: float(np.percentile(found, q)) for name, q in PERCENTILES.items()},
    )
