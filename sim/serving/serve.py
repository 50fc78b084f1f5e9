"""A run at the serving scale, from requests to metrics."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import simpy

from sim.serving.cluster import Cluster
from sim.serving.fleet import fleet
from sim.serving.metrics import ServingMetrics, measure_serving
from sim.serving.recorder import Recorder
from sim.serving.sequence import Sequence
from sim.serving.sources import Process, Source
from sim.serving.tiers import Tiers
from sim.workload.requests.request import Request


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServingRun:
    """A finished run of a serving cluster."""

    cluster: Cluster
    metrics: ServingMetrics
    recorder: Recorder
    warnings: tuple[str, ...] = field(default=())


def serve(cluster: Cluster, source: Source) -> ServingRun:
    """Serve the requests of a source until the last is answered. Raises InputError when none is
    answered.
    """
    return _Run(cluster, source.num_warmup_requests).until_done(source)


class _Run:
    """A run under way: the clock, the instances and the recorder."""

    def __init__(self, cluster: Cluster, num_warmup_requests: int) -> None:
        self.env = simpy.Environment()
        self._recorder = Recorder(num_warmup_requests)
        self._cluster = cluster
        self._tiers = Tiers(cluster.offload, cluster.kv_bytes_per_token)
        self._fleet = fleet(self.env, cluster, self._tiers, self._ended)
        self._has_all_arrived = False
        self._done = self.env.event()
        self._answers: dict[int, simpy.Event] = {}

    def until_done(self, source: Source) -> ServingRun:
        """Let requests come from the source, and return when it has no more and all are answered."""
        self.env.process(self._feed(source))
        self.env.run(until=self._done)
        instances = self._fleet.instances
        # A leak of blocks would make long runs slower and slower without any other sign.
        assert all(instance.pool.num_held == 0 for instance in instances), (
            "who has left holds nothing"
        )
        metrics = measure_serving(self._recorder, instances, self._tiers.all)
        warnings = self._cluster.prices.warnings + tuple(self._warnings())
        return ServingRun(
            cluster=self._cluster, metrics=metrics, recorder=self._recorder, warnings=warnings
        )

    def submit(self, request: Request) -> simpy.Event:
        """Pass a request on to the fleet, or turn it away if it can never be held.

        Return the event that ``FrontDoor.submit`` describes.
        """
        now_ns = int(self.env.now)
        length = request.prompt_tokens
        answer = self.env.event()
        longest = self._cluster.max_context_tokens
        self._recorder.submitted(request.number, now_ns)
        is_too_long = longest is not None and length + request.output_tokens > longest
        if is_too_long or not self._fleet.can_hold(length, request.output_tokens):
            self._recorder.rejected(request.number)
            # At once: a closed loop whose request is turned away lets the next one in.
            return answer.succeed(False)
        self._answers[request.number] = answer
        self._fleet.submit(Sequence(request=request, prompt_tokens=length, arrival_ns=now_ns))
        return answer

    def _feed(self, source: Source) -> Process:
        yield from source.feed(self)
        self._has_all_arrived = True
        self._end_if_done()

    def _ended(self, sequence: Sequence) -> None:
        self._recorder.finished(sequence, int(self.env.now))
        self._answers.pop(sequence.number).succeed(True)
        self._end_if_done()

    def _end_if_done(self) -> None:
        # The clock would not stop by itself: a server's sweep of host memory goes on without end.
        if self._has_all_arrived and not self._answers:
            self._done.succeed()

    def _warnings(self) -> Iterator[str]:
        recorder = self._recorder
        if recorder.num_rejected:
            longest = self._cluster.max_context_tokens
            limit = (
                ""
                if longest is None
                else f"than the {longest:,} tokens of the model's context, or "
            )
            yield (
                f"{recorder.num_rejected} of {recorder.num_submitted} requests are longer {limit}"
                "than the instance can hold: turned away"
            )
