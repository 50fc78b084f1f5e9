"""A run at the serving scale: requests in, what became of them out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import simpy

from hwprofiles import InputError, Machine
from sim.memory import Infeasible
from sim.model import Model
from sim.requests.request import Request
from sim.serving.blocks import BlockPool
from sim.serving.gpu_prices import gpu_prices
from sim.serving.instance import Instance
from sim.serving.memory import num_kv_blocks
from sim.serving.metrics import ServingMetrics, measure_serving
from sim.serving.offload_options import OffloadOptions
from sim.serving.options import EngineOptions
from sim.serving.prices import StepPrices
from sim.serving.recorder import Recorder
from sim.serving.sequence import Sequence
from sim.serving.sources import Process, Source
from sim.serving.tiers import Tiers


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSetting:
    """Which model is served on what: ``num_instances`` engines with ``engine.num_gpus`` GPUs each, and the tiers behind them."""

    machine: Machine
    model: Model
    engine: EngineOptions
    num_instances: int = 1
    offload: OffloadOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cluster:
    """What serves: the instances' prices and KV blocks, and the longest context that they take."""

    prices: StepPrices
    num_blocks: int
    engine: EngineOptions
    num_instances: int = 1
    max_context_tokens: int | None = None
    offload: OffloadOptions | None = None
    kv_bytes_per_token: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServingRun:
    """A finished run."""

    cluster: Cluster
    metrics: ServingMetrics
    recorder: Recorder
    warnings: tuple[str, ...] = field(default=())


def prepare(setting: ServingSetting) -> Cluster | Infeasible:
    """Prices and memory of the setting; Infeasible where the weights leave no room for KV."""
    wanted, present = setting.num_instances * setting.engine.num_gpus, setting.machine.gpu.count
    if wanted > present:
        raise InputError(f"num_instances × engine.num_gpus must be at most the {present} GPUs of {setting.machine.name}, got {wanted}")
    blocks = num_kv_blocks(setting.machine, setting.model, setting.engine)
    if isinstance(blocks, Infeasible):
        return blocks
    return Cluster(
        prices=gpu_prices(setting.machine, setting.model, setting.engine),
        num_blocks=blocks,
        engine=setting.engine,
        num_instances=setting.num_instances,
        max_context_tokens=setting.model.max_context_tokens,
        offload=setting.offload,
        kv_bytes_per_token=setting.model.kv_bytes_per_token,
    )


def serve(cluster: Cluster, source: Source) -> ServingRun:
    """Serve the requests of a source until the last is answered. Raises InputError when none is."""
    return _Run(cluster, source.num_warmup_requests).until_done(source)


class _Run:
    """A run under way: the clock, the instances, and what is written down."""

    def __init__(self, cluster: Cluster, num_warmup_requests: int) -> None:
        self.env = simpy.Environment()
        self.recorder = Recorder(num_warmup_requests)
        self._cluster = cluster
        self._has_all_arrived = False
        self._done = self.env.event()
        self._answers: dict[int, simpy.Event] = {}
        self.tiers = Tiers(cluster.offload, cluster.kv_bytes_per_token)
        self._instances = [self._instance() for _ in range(cluster.num_instances)]

    def _instance(self) -> Instance:
        cluster, pool = self._cluster, BlockPool(self._cluster.num_blocks)
        return Instance(
            env=self.env,
            prices=cluster.prices,
            options=cluster.engine,
            pool=pool,
            on_end=self._ended,
            offload=self.tiers.offload(self.env, cluster.prices),
        )

    def until_done(self, source: Source) -> ServingRun:
        """Let requests come from the source, and return when it has no more and all are answered."""
        self.env.process(self._feed(source))
        self.env.run(until=self._done)
        assert all(instance.pool.num_held == 0 for instance in self._instances), "who has left holds nothing"
        metrics = measure_serving(self.recorder, self._instances, self.tiers.all)
        warnings = self._cluster.prices.warnings + tuple(self._warnings())
        return ServingRun(cluster=self._cluster, metrics=metrics, recorder=self.recorder, warnings=warnings)

    def _feed(self, source: Source) -> Process:
        yield from source.feed(self)
        self._has_all_arrived = True
        self._end_if_done()

    def submit(self, request: Request) -> simpy.Event:
        """Hand a request to the instance with the fewest live ones, or turn it away if it can never be held."""
        now, length = int(self.env.now), request.prompt_tokens
        answer = self.env.event()
        self.recorder.submitted(request.number, now)
        instance = min(self._instances, key=lambda candidate: candidate.num_live)
        longest, context = self._cluster.max_context_tokens, length + request.output_tokens
        if not instance.can_hold(context) or (longest is not None and context > longest):
            self.recorder.rejected(request.number)
            return answer.succeed(False)
        self._answers[request.number] = answer
        instance.submit(Sequence(request=request, prompt_tokens=length, arrival_ns=now))
        return answer

    def _ended(self, sequence: Sequence) -> None:
        self.recorder.finished(sequence, int(self.env.now))
        self._answers.pop(sequence.number).succeed(True)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._has_all_arrived and not self._answers:
            self._done.succeed()

    def _warnings(self) -> Iterator[str]:
        if self.recorder.num_rejected:
            yield f"{self.recorder.num_rejected} of {self.recorder.num_submitted} requests are longer than the engine can hold: turned away"
