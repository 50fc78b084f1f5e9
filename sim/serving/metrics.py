"""What a run at the serving scale came to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S
from sim.serving.instance import Instance
from sim.serving.prices import TICKS_PER_NS
from sim.serving.recorder import Recorder

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure over all requests: its mean and percentiles (linearly interpolated)."""

    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingMetrics:
    """The figures of one run; units are in the names.

    ``queue_s`` is the wait for admission, part of ``ttft_s``; ``tpot_s`` is the mean time of a request's tokens after its first, over
    requests with more than one (None: there are none). Rates are over ``duration_s``, from the first arrival to the last end.
    ``kv_hit_rate`` is the share of prompt tokens whose KV was found, by tier. ``gpu_busy_fraction`` is the instances' mean.
    ``num_events`` counts the instants at which an engine did anything: steps that are alike are taken at once.
    """

    num_requests: int
    num_rejected_requests: int
    num_preemptions: int
    num_steps: int
    num_events: int
    duration_s: float
    queue_s: Spread
    ttft_s: Spread
    tpot_s: Spread | None
    end_to_end_s: Spread
    request_throughput_per_s: float
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    kv_hit_rate: dict[str, float]
    gpu_busy_fraction: float
    gpu_kv_peak_fraction: float
    gpu_kv_evicted_blocks: int


def measure_serving(recorder: Recorder, instances: Sequence[Instance]) -> ServingMetrics:
    """Read the metrics off a finished run. Raises InputError when no request was answered."""
    if not recorder.num_finished:
        raise InputError(f"no request was answered: {recorder.num_submitted} came, {recorder.num_rejected} are longer than the engine can hold")
    assert recorder.first_arrival_ns is not None
    duration_s = (recorder.last_end_ns - recorder.first_arrival_ns) / NS_PER_S
    busy_s = sum(instance.busy.busy_ticks for instance in instances) / TICKS_PER_NS / NS_PER_S
    return ServingMetrics(
        num_requests=recorder.num_finished,
        num_rejected_requests=recorder.num_rejected,
        num_preemptions=recorder.num_preemptions,
        num_steps=sum(instance.busy.num_steps for instance in instances),
        num_events=sum(instance.busy.num_events for instance in instances),
        duration_s=duration_s,
        queue_s=_spread(recorder.queue_s),
        ttft_s=_spread(recorder.ttft_s),
        tpot_s=_spread(recorder.tpot_s) if recorder.tpot_s else None,
        end_to_end_s=_spread(recorder.end_to_end_s),
        request_throughput_per_s=recorder.num_finished / duration_s,
        prompt_tokens_per_s=recorder.prompt_tokens / duration_s,
        output_tokens_per_s=recorder.output_tokens / duration_s,
        kv_hit_rate={tier: tokens / recorder.prompt_tokens for tier, tokens in recorder.hit_tokens.items()},
        gpu_busy_fraction=busy_s / len(instances) / duration_s,
        gpu_kv_peak_fraction=max(instance.busy.peak_blocks / instance.pool.num_blocks for instance in instances),
        gpu_kv_evicted_blocks=sum(instance.pool.num_evictions for instance in instances),
    )


def _spread(values: Sequence[float]) -> Spread:
    found = np.asarray(values)
    return Spread(mean=float(found.mean()), **{name: float(np.percentile(found, q)) for name, q in PERCENTILES.items()})
