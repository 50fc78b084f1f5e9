"""How to serve a workload: instances, tiers of KV, their rules and sizes, prefill and decode apart; by trying them.

The search is staged: first how the GPUs are shared out, with and without the tiers; then, for the best, which tiers under which rules; then
how small they may be; then prefill and decode apart, where a link is offered. All candidates serve the same requests.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hwprofiles import InputError, Machine
from sim.memory import Infeasible
from sim.model import Model
from sim.requests.spec import RequestsSpec
from sim.serving import ServingMetrics, prepare, serve, source_of
from sim.serving.offload_options import Loading, Mode
from sim.serving.setting import serving_setting
from sim.serving.spec import OffloadSpec, ServingSpec, TierSpec

Value = Callable[[ServingMetrics], float]
OBJECTIVES: Mapping[str, Value] = MappingProxyType(
    {
        "latency": lambda metrics: metrics.end_to_end_s.mean,
        "ttft": lambda metrics: metrics.ttft_s.mean,
        "tpot": lambda metrics: metrics.tpot_s.mean if metrics.tpot_s else 0.0,
        "throughput": lambda metrics: -metrics.request_throughput_per_s,
    }
)
"""What is made small, by name: means over requests, or the negative of their rate."""

MARGIN_FRACTION = 0.01
"""What is not better by this much is not worth a tier, a rule or more memory."""
NUM_HALVINGS = 4
POLICIES: Mapping[Mode, tuple[str, ...]] = MappingProxyType({Mode.IN_PROCESS: ("lfu", "fifo"), Mode.SERVER: ("arc",)})
"""Tried in place of LRU: what LMCache has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingQuestion:
    """What is asked. ``offered`` has the tiers that may be used, up to their sizes, and a link for prefill and decode apart, if any.

    Its other keys are kept as they are, ``num_instances`` and the GPUs of each only where they are stated.
    """

    machine: Machine
    model: Model
    requests: RequestsSpec
    offered: ServingSpec
    objective: str = "latency"
    num_requests: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingChoice:
    """A candidate: what was changed, in words, its serving file, and what came of it."""

    label: str
    spec: ServingSpec
    metrics: ServingMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlan:
    """All that was tried, the best first.

    ``best`` is the least memory that is as good as the best within the margin; ``gain_fraction`` is what the best with tiers gains over the
    best without, negative where it loses (None: no tiers were offered).
    """

    rows: tuple[ServingChoice, ...]
    best: ServingChoice
    without_tiers: ServingChoice
    with_tiers: ServingChoice | None
    gain_fraction: float | None

    @property
    def uses_tiers(self) -> bool:
        """Whether tiers are worth it."""
        return bool(self.best.spec.tiers)


def plan_serving(question: ServingQuestion, on_tried: Callable[[str], None] = lambda label: None) -> ServingPlan | Infeasible:
    """Try and choose. Infeasible, the nearest to fitting, where no instance fits; InputError for an unknown objective."""
    if question.objective not in OBJECTIVES:
        raise InputError(f"--objective must be one of {', '.join(OBJECTIVES)}, got {question.objective!r}")
    search = _Search(question, on_tried)
    misfit = search.share_out()
    if not search.rows:
        assert misfit is not None
        return misfit
    if question.offered.tiers:
        search.choose_rules()
        search.shrink()
    if question.offered.disaggregation is not None:
        search.take_apart()
    return search.plan()


class _Search:
    """A search under way: what was tried, and the best so far of its stages."""

    def __init__(self, question: ServingQuestion, on_tried: Callable[[str], None]) -> None:
        self.rows: list[ServingChoice] = []
        self._question = question
        self._on_tried = on_tried
        self._value = OBJECTIVES[question.objective]

    def share_out(self) -> Infeasible | None:
        """Every number of instances, without tiers and with all of them; returns the misfit that is nearest to fitting."""
        misfits = []
        for num_instances, num_gpus in self._shares():
            label = f"{num_instances} × {num_gpus} GPU{'s' if num_gpus > 1 else ''}"
            spec = self._spec(num_instances, num_gpus)
            tried = self._try(label, spec)
            if isinstance(tried, Infeasible):
                misfits.append(tried)
            elif self._question.offered.tiers:
                names = " + ".join(tier.name for tier in self._question.offered.tiers)
                self._try(f"{label}, {names}", spec.model_copy(update={"tiers": self._question.offered.tiers}))
        return min(misfits, key=lambda misfit: misfit.missing_bytes, default=None)

    def choose_rules(self) -> None:
        """For the best share with tiers: fewer tiers, loading only where it is cheaper, layer by layer, prefetching, other policies."""
        start = self._best(with_tiers=True)
        tiers, rules = start.spec.tiers, start.spec.offload or OffloadSpec()
        for count in range(1, len(tiers)):
            names = " + ".join(tier.name for tier in tiers[:count])
            self._try(f"{start.label.partition(',')[0]}, {names}", start.spec.model_copy(update={"tiers": tiers[:count]}))
        for words, change in self._rules(len(tiers)):
            best = self._best(with_tiers=True)
            changed = (best.spec.offload or rules).model_copy(update=change)
            self._try(f"{best.label}, {words}", best.spec.model_copy(update={"offload": changed}))
        best = self._best(with_tiers=True)
        for policy in POLICIES[rules.mode]:
            self._try(f"{best.label}, {policy}", _with_tiers(best.spec, lambda tier, name=policy: {"policy": name}))  # type: ignore[misc]

    def shrink(self) -> None:
        """Halve the tiers as long as that loses less than the margin."""
        start = self._best(with_tiers=True)
        if all(tier.capacity_bytes is None for tier in start.spec.tiers):
            return
        limit = self._value(start.metrics) + MARGIN_FRACTION * abs(self._value(start.metrics))
        for halving in range(1, NUM_HALVINGS + 1):
            smaller = _with_tiers(start.spec, lambda tier, part=2**halving: {"capacity_bytes": (tier.capacity_bytes or 0) // part or None})  # type: ignore[misc]
            tried = self._try(f"{start.label}, 1/{2**halving} of the size", smaller)
            if isinstance(tried, Infeasible) or self._value(tried.metrics) > limit:
                break

    def take_apart(self) -> None:
        """With the best share of at least two instances, every split into instances that prefill and that decode."""
        parts = self._question.offered.disaggregation
        shared = [row for row in self.rows if row.spec.num_instances > 1]
        if parts is None or not shared:
            return
        best = min(shared, key=lambda row: self._value(row.metrics))
        total = best.spec.num_instances
        for num_prefill in range(1, total):
            change = parts.model_copy(update={"num_prefill": num_prefill, "num_decode": total - num_prefill})
            self._try(
                f"{best.label}, {num_prefill} prefill : {total - num_prefill} decode",
                best.spec.model_copy(update={"disaggregation": change}),
            )

    def plan(self) -> ServingPlan:
        """The best of all; of what is as good within the margin, what has no tiers, and then what has the smallest."""
        rows = tuple(sorted(self.rows, key=lambda row: self._value(row.metrics)))
        without = self._best(with_tiers=False)
        offers = [row for row in rows if row.spec.tiers]
        lowest = self._value(rows[0].metrics)
        near = [row for row in rows if self._value(row.metrics) <= lowest + MARGIN_FRACTION * abs(lowest)]
        best = min(near, key=lambda row: _size(row.spec))
        gain = None
        if offers:
            before, after = self._value(without.metrics), self._value(offers[0].metrics)
            gain = (before - after) / abs(before)
        return ServingPlan(rows=rows, best=best, without_tiers=without, with_tiers=offers[0] if offers else None, gain_fraction=gain)

    def _try(self, label: str, spec: ServingSpec) -> ServingChoice | Infeasible:
        question = self._question
        self._on_tried(label)
        cluster = prepare(serving_setting(spec, question.machine, question.model))
        if isinstance(cluster, Infeasible):
            return cluster
        run = serve(cluster, source_of(question.requests, question.seed, question.num_requests))
        choice = ServingChoice(label=label, spec=spec, metrics=run.metrics)
        self.rows.append(choice)
        return choice

    def _best(self, *, with_tiers: bool) -> ServingChoice:
        rows = [row for row in self.rows if bool(row.spec.tiers) is with_tiers]
        return min(rows, key=lambda row: self._value(row.metrics))

    def _shares(self) -> Iterator[tuple[int, int]]:
        """Numbers of instances and of the GPUs of each that use all GPUs; those that are stated are kept."""
        offered, count = self._question.offered, self._question.machine.gpu.count
        for num_instances in range(1, count + 1):
            num_gpus = offered.instance.num_gpus or count // num_instances
            is_stated = "num_instances" in offered.model_fields_set and offered.disaggregation is None
            if (
                count % num_instances == 0
                and num_gpus * num_instances <= count
                and (not is_stated or num_instances == offered.num_instances)
            ):
                yield num_instances, num_gpus

    def _spec(self, num_instances: int, num_gpus: int) -> ServingSpec:
        offered = self._question.offered
        instance = offered.instance.model_copy(update={"num_gpus": num_gpus})
        return offered.model_copy(update={"num_instances": num_instances, "instance": instance, "tiers": (), "disaggregation": None})

    def _rules(self, num_tiers: int) -> Iterator[tuple[str, dict[str, object]]]:
        yield "loading what is cheaper", {"loading": Loading.CHEAPER}
        if self._question.offered.offload is not None and self._question.offered.offload.mode is not Mode.IN_PROCESS:
            return
        yield "layer by layer", {"is_layerwise": True}
        if num_tiers > 1:
            yield "prefetching", {"prefetches": True}


def _with_tiers(spec: ServingSpec, change: Callable[[TierSpec], dict[str, object]]) -> ServingSpec:
    return spec.model_copy(update={"tiers": tuple(tier.model_copy(update=change(tier)) for tier in spec.tiers)})


def _size(spec: ServingSpec) -> tuple[int, float]:
    """Fewer tiers first, then fewer bytes; unlimited is the most."""
    return len(spec.tiers), sum(float("inf") if tier.capacity_bytes is None else tier.capacity_bytes for tier in spec.tiers)
