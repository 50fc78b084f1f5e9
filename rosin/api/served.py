"""``rosin.serve``: requests over time, served by instances with queues, batches and KV tiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from rosin.api.named import machine as machine_of
from rosin.api.named import model as model_of
from rosin.api.result import NothingFits, Result, bars, numbers_of
from rosin.api.setting import policy_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hwprofiles import Machine
    from sim.model.model import Model
    from sim.policies import Policy
    from sim.serving import Cluster, ServingMetrics, ServingRun
    from sim.workload.requests import RequestsSpec


class ServingValues(TypedDict, total=False):
    """The arguments of ``rosin.serve`` besides model, machine and workload.

    ``policy`` places the experts; without a policy, the whole model is on the GPUs. ``serving`` is
    a serving file, or its keys. ``changes`` sets numbers of the machine by their paths.
    """

    policy: str | Path | Policy
    routing: str
    serving: str | Path | Mapping[str, Any]
    num_requests: int
    concurrency: int
    quantization: str
    changes: Mapping[str, float | str]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Served(Result):
    """A served workload; ``run`` has the times of each request."""

    name: str
    run: ServingRun

    @property
    def metrics(self) -> ServingMetrics:
        """Return the figures over all requests."""
        return self.run.metrics

    @property
    def warnings(self) -> list[str]:
        """Return what to know before trusting the figures."""
        return list(self.run.warnings)

    def __repr__(self) -> str:
        from hwprofiles.units import format_duration

        metrics = self.metrics
        rate = f"{metrics.request_throughput_per_s:.3g} requests/s"
        ttft = f"TTFT {format_duration(metrics.ttft_s.mean)} in the mean"
        return f"<Served {self.name}: {metrics.num_requests} requests, {rate}, {ttft}>"

    def to_frame(self) -> pd.DataFrame:
        """Return one line with every metric."""
        import pandas as pd

        return pd.DataFrame([{"workload": self.name} | numbers_of(asdict(self.metrics))])

    def to_data(self) -> dict[str, Any]:
        """Return the version, the workload's name, the metrics and the warnings."""
        from rosin.version import __version__

        return {
            "version": __version__,
            "workload": self.name,
            "metrics": asdict(self.metrics),
            "warnings": self.warnings,
        }

    def plot(self) -> Figure:
        """Draw the time from arrival to the first token, and to the end of the answer."""
        values = {
            f"{what}, {name}": getattr(getattr(self.metrics, f"{field}_s"), name)
            for what, field in (("first token", "ttft"), ("end", "end_to_end"))
            for name in ("mean", "p50", "p90", "p99")
        }
        return bars(values, "after arrival (s)", f"{self.name}; simulated")


def serve(
    model: str | Path | Model,
    machine: str | Path | Machine,
    workload: str | Path | RequestsSpec,
    **asked: Unpack[ServingValues],
) -> Served:
    """Serve a workload: a name that ships, a request file, a trace, or the requests themselves.

    Raises NothingFits if the model does not fit, and hwprofiles.InputError for wrong input.

    >>> import rosin
    >>> found = rosin.serve("llama-3.1-8b", "h100", "lmbenchmark-long-in-short-out",
    ...                     num_requests=30)
    >>> found.metrics.num_requests
    10
    """
    from hwprofiles import unknown_name
    from rosin.report.tables import shortfall
    from sim.serving import Cluster, serve, source_of
    from sim.workload.requests import RequestsSpec, load_requests

    # Python checks no keys of a TypedDict, and a misspelt one would be ignored in silence.
    for key in asked:
        if key not in ServingValues.__annotations__:
            raise unknown_name("argument", key, ServingValues.__annotations__)
    requests = workload if isinstance(workload, RequestsSpec) else load_requests(str(workload))
    if asked.get("concurrency") is not None:
        requests = requests.always(asked["concurrency"])
    on = machine_of(machine, asked.get("changes"))
    cluster = _cluster(model_of(model, asked.get("quantization")), on, asked)
    if not isinstance(cluster, Cluster):
        raise NothingFits(f"no feasible plan: {shortfall(cluster)}")
    run = serve(cluster, source_of(requests, asked.get("seed", 0), asked.get("num_requests")))
    return Served(name=requests.name, run=run)


def _cluster(model: Model, machine: Machine, asked: ServingValues) -> Cluster | Any:
    """Return the cluster that serves the model, or the reason why it does not fit.

    Raises hwprofiles.InputError for wrong input.
    """
    from hwprofiles import InputError
    from sim.routing import load_routing
    from sim.serving import prepare
    from sim.serving.policy_prices import ServedPolicy, prepare_policy
    from sim.serving.setting import serving_setting
    from sim.serving.spec import load_serving

    stated = asked.get("serving")
    keys = stated if isinstance(stated, Mapping) else {}
    path = Path(stated) if isinstance(stated, str | Path) else None
    spec = load_serving(path, keys, {})
    policy = asked.get("policy")
    if policy is None:
        if "routing" in asked:
            raise InputError("routing needs a policy, which says where experts are")
        return prepare(serving_setting(spec, machine, model))
    routing = load_routing(asked.get("routing"), model)
    served = ServedPolicy(policy=policy_of(policy), routing=routing, seed=asked.get("seed", 0))
    return prepare_policy(serving_setting(spec.on_one_gpu(), machine, model), served)
