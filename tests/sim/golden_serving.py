"""Scenarios at the serving scale: without tiers, with tiers, prefill apart from decode, and experts under a policy."""

from collections.abc import Mapping
from typing import Any

from hwprofiles import Machine
from sim.policies import find_policy
from sim.routing import uniform
from sim.serving import Cluster, ServingRun, prepare, serve, source_of
from sim.serving.policy_prices import ServedPolicy, prepare_policy
from sim.serving.setting import serving_setting
from sim.serving.spec import ServingSpec
from sim.workload.requests.spec import RequestsSpec
from tests.sim.small import MODELS, small_machine

TALKS = RequestsSpec.model_validate(
    {
        "name": "talks",
        "source": "made up for tests",
        "date": "2026",
        "num_requests": 24,
        "multi_round": {
            "num_users": 4,
            "num_rounds": 3,
            "system_tokens": 64,
            "history_tokens": 800,
            "question_tokens": 20,
            "answer_tokens": 12,
            "requests_per_s": 400.0,
        },
    }
)
"""Conversations that come so fast that requests queue."""

_INSTANCE: Mapping[str, Any] = {
    "num_gpus": 1,
    "max_step_tokens": 256,
    "max_sequences": 8,
    "kv_tokens": 2048,
}
_LINK: Mapping[str, Any] = {"bytes_per_s": 2e9, "latency_ns": 3000}
_HOST: Mapping[str, Any] = {
    "name": "cpu",
    "capacity_bytes": 2_500_000,
    "read": _LINK,
    "write": _LINK,
}
_DISK: Mapping[str, Any] = {
    "name": "disk",
    "capacity_bytes": 9_000_000,
    "read": {"bytes_per_s": 3e8, "latency_ns": 20_000},
    "write": {"bytes_per_s": 2e8, "latency_ns": 20_000},
    "policy": "lfu",
}

SERVED: dict[str, Mapping[str, Any]] = {
    "served without tiers": {"instance": _INSTANCE},
    "served with two tiers": {"instance": _INSTANCE, "tiers": [_HOST, _DISK]},
    "served by two instances": {"instance": _INSTANCE, "num_instances": 2, "tiers": [_HOST]},
    "prefill apart from decode": {
        "instance": _INSTANCE,
        "num_instances": 2,
        "disaggregation": {"num_prefill": 1, "num_decode": 1, "link": _LINK},
    },
}
"""Serving files by name."""

SERVED_POLICIES: dict[str, str] = {
    "served by ktransformers": "ktransformers",
    "served by on-demand": "on-demand",
}
"""Policies that place the experts while requests are served, by name of the scenario."""


def served_runs() -> dict[str, ServingRun]:
    """Return the run of every scenario by name."""
    runs = {name: _run(_cluster(spec)) for name, spec in SERVED.items()}
    for name, policy in SERVED_POLICIES.items():
        runs[name] = _run(_policy_cluster(policy))
    return runs


def _machine() -> Machine:
    machine = small_machine(overhead_ns=500, latency_ns=1000)
    gpu = machine.gpu.model_copy(update={"count": 2})
    return machine.model_copy(update={"gpu": gpu})


def _cluster(spec: Mapping[str, Any]) -> Cluster:
    setting = serving_setting(ServingSpec.model_validate(spec), _machine(), MODELS["plain"])
    found = prepare(setting)
    assert isinstance(found, Cluster), found
    return found


def _policy_cluster(policy: str) -> Cluster:
    spec = ServingSpec.model_validate({"instance": _INSTANCE}).on_one_gpu()
    setting = serving_setting(spec, _machine(), MODELS["plain"])
    served = ServedPolicy(policy=find_policy(policy), routing=uniform(), seed=3)
    found = prepare_policy(setting, served)
    assert isinstance(found, Cluster), found
    return found


def _run(cluster: Cluster) -> ServingRun:
    return serve(cluster, source_of(TALKS, 5, None))
