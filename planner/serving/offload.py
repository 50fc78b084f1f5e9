"""The search for how to serve a workload: instances, KV tiers, rules and sizes, prefill and decode
apart.

The search has stages. The first shares the GPUs out, with and without the tiers. For the best
share, the next stages choose tiers and rules, and find how small the tiers may be. The last takes
prefill and decode apart, where a link is offered. All candidates serve the same requests. With a
target, all stages run for 1, 2, … GPUs, until the target is met.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import groupby
from types import MappingProxyType

from hwprofiles import InputError
from planner.serving.running import is_within
from planner.serving.serving_plan import ServingChoice, ServingPlan, ServingQuestion, TargetMissed
from planner.serving.shares import Share, share_words, shares_of
from planner.serving.target import ServingTarget
from sim.costs.memory import Infeasible
from sim.serving import ServingMetrics, prepare, serve, source_of
from sim.serving.metrics import NothingAnswered
from sim.serving.offload_options import Loading, Mode, OffloadSpec
from sim.serving.setting import serving_setting
from sim.serving.spec import ServingSpec
from sim.serving.tier import TierSpec

Value = Callable[[ServingMetrics], float]
OBJECTIVES: Mapping[str, Value] = MappingProxyType(
    {
        "latency": lambda metrics: metrics.end_to_end_s.mean,
        "ttft": lambda metrics: metrics.ttft_s.mean,
        "tpot": lambda metrics: metrics.tpot_s.mean if metrics.tpot_s else 0.0,
        "throughput": lambda metrics: -metrics.request_throughput_per_s,
    }
)
"""What is minimised, by name: means over requests in seconds, or the negative of their rate."""

MARGIN_FRACTION = 0.01
"""A tier, a rule or more memory is worth it only if it is better by this fraction."""
NUM_HALVINGS = 4
RUNNING_LABEL = "what you run"
POLICIES: Mapping[Mode, tuple[str, ...]] = MappingProxyType(
    {Mode.IN_PROCESS: ("lfu", "fifo"), Mode.SERVER: ("arc",)}
)
"""Eviction policies of LMCache that are tried in place of LRU."""


def plan_serving(
    question: ServingQuestion, on_tried: Callable[[str], None] = lambda label: None
) -> ServingPlan | TargetMissed | Infeasible:
    """Try the candidates, and return the best plan.

    Returns TargetMissed where none meets the target, and Infeasible, the nearest to fitting, where
    no instance fits. Raises InputError for an unknown objective, for instances that are no equal
    share of the GPUs, and where ``against`` does not fit.
    """
    if question.objective not in OBJECTIVES:
        raise InputError(
            f"`objective` must be one of {', '.join(OBJECTIVES)}, got {question.objective!r}"
        )
    shares = list(shares_of(question))
    if not shares:
        count = question.machine.gpu.count
        name = question.machine.name
        raise InputError(
            f"num_instances and instance.num_gpus must be an equal share of the {count} GPUs of {name}; leave one out"
        )
    if question.target is not None:
        found = _plan_for_target(question, question.target, shares, on_tried)
        last = _Search(question, on_tried)
    else:
        last = _Search(question, on_tried)
        found = last.run(shares) or last.plan()
    if question.against is None or not isinstance(found, ServingPlan):
        return found
    return last.beside(found, question.against)


def _plan_for_target(
    question: ServingQuestion,
    target: ServingTarget,
    shares: Iterable[Share],
    on_tried: Callable[[str], None],
) -> ServingPlan | TargetMissed | Infeasible:
    """Search with one GPU, then with more, until the target is met.

    Requests that the largest instance itself turns away count for no candidate.
    """
    # Fewer GPUs first, so that the search ends with the fewest that will do.
    by_size = sorted(shares, key=lambda share: (share[0] * share[1], share[0]))
    most = _Search(question, on_tried)
    misfit = most.try_share(max(by_size, key=lambda share: (share[1], share[0])))
    if misfit is not None:
        return misfit
    largest, *_ = rows = most.rows
    for _, group in groupby(by_size, key=lambda share: share[0] * share[1]):
        search = _Search(question, on_tried, largest)
        search.run(group)
        rows += [row for row in search.rows if row is not largest]
        if any(row.meets_target for row in search.rows):
            return search.plan(rows)
    return TargetMissed(target=target, nearest=min(rows, key=lambda row: row.excess_fraction))


class _Search:
    """A search under way; ``rows`` are the candidates that were tried.

    The candidate ``known`` was tried before, and need not be tried again.
    """

    def __init__(
        self,
        question: ServingQuestion,
        on_tried: Callable[[str], None],
        known: ServingChoice | None = None,
    ) -> None:
        self.rows: list[ServingChoice] = []
        self._question = question
        self._on_tried = on_tried
        self._value = OBJECTIVES[question.objective]
        self._known = known

    def run(self, shares: Iterable[Share]) -> Infeasible | None:
        """Run all stages, the last ones where they may help.

        If nothing fits, return the misfit that is nearest to fitting, else None.
        """
        misfit = self.share_out(shares)
        if not self.rows:
            return misfit
        if self._question.offered.tiers:
            self.choose_rules()
            if self._best(with_tiers=True).meets_target:
                self.shrink()
        if self._question.offered.disaggregation is not None:
            self.take_apart()
        running = self._question.against
        # It is a candidate too, so that no plan is worse; but not with more than was offered, and a
        # target asks for the fewest GPUs instead.
        has_target = self._question.target is not None
        if running is not None and not has_target and is_within(running, self._question.offered):
            self.try_running(running)
        return None

    def share_out(self, shares: Iterable[Share]) -> Infeasible | None:
        """Try every share, without tiers and with all of them; return the misfit nearest to
        fitting.
        """
        misfits = []
        for share in shares:
            tried = self.try_share(share)
            if tried is not None:
                misfits.append(tried)
            elif self._question.offered.tiers:
                names = " + ".join(tier.name for tier in self._question.offered.tiers)
                offered = self._question.offered
                spec = self._spec(*share).model_copy(
                    update={"tiers": offered.tiers, "offload": offered.offload}
                )
                self._try(f"{share_words(*share)}, {names}", spec)
        return min(misfits, key=lambda misfit: misfit.missing_bytes, default=None)

    def try_share(self, share: Share) -> Infeasible | None:
        """Try a share without tiers; return its misfit, if any."""
        tried = self._try(share_words(*share), self._spec(*share))
        return tried if isinstance(tried, Infeasible) else None

    def choose_rules(self) -> None:
        """Try other tiers and rules for the best share with tiers.

        The search tries fewer tiers, loading only where it is cheaper, loading layer by layer,
        prefetching, and other policies.
        """
        start = self._best(with_tiers=True)
        tiers = start.spec.tiers
        rules = start.spec.offload or OffloadSpec()
        for count in range(1, len(tiers)):
            names = " + ".join(tier.name for tier in tiers[:count])
            self._try(
                f"{start.label.partition(',')[0]}, {names}",
                start.spec.model_copy(update={"tiers": tiers[:count]}),
            )
        # Each rule is tried on the best so far, so that rules that help add up.
        for words, change in self._rules(len(tiers)):
            best = self._best(with_tiers=True)
            changed = (best.spec.offload or rules).model_copy(update=change)
            self._try(f"{best.label}, {words}", best.spec.model_copy(update={"offload": changed}))
        best = self._best(with_tiers=True)
        for policy in POLICIES[rules.mode]:
            self._try(
                f"{best.label}, {policy}",
                _with_tiers(best.spec, partial(_named, policy)),
            )

    def shrink(self) -> None:
        """Halve the tiers as long as that loses less than the margin."""
        start = self._best(with_tiers=True)
        # What is unlimited has no half.
        if all(tier.capacity_bytes is None for tier in start.spec.tiers):
            return
        limit = self._value(start.metrics) + MARGIN_FRACTION * abs(self._value(start.metrics))
        for halving in range(1, NUM_HALVINGS + 1):
            smaller = _with_tiers(
                start.spec,
                partial(_divided, 2**halving),
            )
            tried = self._try(f"{start.label}, 1/{2**halving} of the size", smaller)
            if (
                not isinstance(tried, ServingChoice)
                or not tried.meets_target
                or self._value(tried.metrics) > limit
            ):
                break

    def take_apart(self) -> None:
        """Try every split of at least two instances into those that prefill and those that decode,
        with the best share.
        """
        parts = self._question.offered.disaggregation
        # One instance cannot be taken apart.
        shared = [row for row in self.rows if row.spec.num_instances > 1]
        if parts is None or not shared:
            return
        best = min(shared, key=self._rank)
        total = best.spec.num_instances
        for num_prefill in range(1, total):
            change = parts.model_copy(
                update={"num_prefill": num_prefill, "num_decode": total - num_prefill}
            )
            self._try(
                f"{best.label}, {num_prefill} prefill : {total - num_prefill} decode",
                best.spec.model_copy(update={"disaggregation": change}),
            )

    def plan(self, all_rows: Iterable[ServingChoice] | None = None) -> ServingPlan:
        """Return the best of all that was tried.

        Of rows that are as good within the margin, the one without tiers is chosen, else the one
        with the smallest tiers.
        """
        ranked = sorted(self.rows, key=self._rank)
        without = self._best(with_tiers=False)
        offers = [row for row in ranked if row.spec.tiers]
        lowest = self._value(ranked[0].metrics)
        near = [
            row
            for row in ranked
            if row.meets_target
            and self._value(row.metrics) <= lowest + MARGIN_FRACTION * abs(lowest)
        ]
        best = min(near, key=lambda row: _size(row.spec))
        gain = None
        if offers:
            before = self._value(without.metrics)
            after = self._value(offers[0].metrics)
            gain = (before - after) / abs(before)
        rows = (
            ranked
            if all_rows is None
            else sorted(
                all_rows, key=lambda row: (not row.meets_target, row.num_gpus, self._rank(row))
            )
        )
        return ServingPlan(
            rows=tuple(rows),
            best=best,
            without_tiers=without,
            with_tiers=offers[0] if offers else None,
            gain_fraction=gain,
        )

    def try_running(self, running: ServingSpec) -> ServingChoice:
        """Return what is run today, which is served only where no candidate was the same.

        Raises InputError where it does not fit, or answers nobody.
        """
        known = next((row for row in self.rows if row.spec == running), None)
        tried = known or self._try(RUNNING_LABEL, running)
        if isinstance(tried, ServingChoice):
            return tried
        reason = tried.reason if isinstance(tried, Infeasible) else "it answers nobody"
        raise InputError(f"{RUNNING_LABEL}: {reason}")

    def beside(self, plan: ServingPlan, running: ServingSpec) -> ServingPlan:
        """Return the plan with what is run today, and with what the best gains over it."""
        row = self.try_running(running)
        before = self._value(row.metrics)
        # Answers of one token have no time between tokens, so that nothing can be gained.
        gain = (before - self._value(plan.best.metrics)) / abs(before) if before else 0.0
        return replace(
            plan, against=replace(row, label=RUNNING_LABEL), gain_over_against_fraction=gain
        )

    def _rank(self, row: ServingChoice) -> tuple[float, float]:
        """Return what ranks candidates: by how much the target is missed, then the objective."""
        return row.excess_fraction, self._value(row.metrics)

    def _try(self, label: str, spec: ServingSpec) -> ServingChoice | Infeasible | None:
        """Serve the requests, and keep the candidate; Infeasible where it does not fit.

        None where it answers nobody, though the largest instance does.
        """
        question = self._question
        # The largest instance was tried before the search began.
        if self._known is not None and self._known.spec == spec:
            self.rows.append(self._known)
            return self._known
        self._on_tried(label)
        cluster = prepare(serving_setting(spec, question.machine, question.model))
        if isinstance(cluster, Infeasible):
            return cluster
        try:
            run = serve(cluster, source_of(question.requests, question.seed, question.num_requests))
        except NothingAnswered:
            # The largest instance itself answers nobody: that is for the caller to see.
            if self._known is None:
                raise
            return None
        choice = ServingChoice(
            label=label, spec=spec, metrics=run.metrics, excess_fraction=self._excess(run.metrics)
        )
        self.rows.append(choice)
        return choice

    def _excess(self, metrics: ServingMetrics) -> float:
        if self._question.target is None:
            return 0.0
        if (
            self._known is not None
            and metrics.num_rejected_requests > self._known.metrics.num_rejected_requests
        ):
            return float("inf")
        return self._question.target.excess_fraction(metrics)

    def _best(self, *, with_tiers: bool) -> ServingChoice:
        return min((row for row in self.rows if bool(row.spec.tiers) is with_tiers), key=self._rank)

    def _spec(self, num_instances: int, num_gpus: int) -> ServingSpec:
        offered = self._question.offered
        instance = offered.instance.model_copy(update={"num_gpus": num_gpus})
        return offered.model_copy(
            update={
                "num_instances": num_instances,
                "instance": instance,
                "tiers": (),
                "offload": None,
                "disaggregation": None,
            }
        )

    def _rules(self, num_tiers: int) -> Iterator[tuple[str, dict[str, object]]]:
        yield "loading what is cheaper", {"loading": Loading.CHEAPER}
        offload = self._question.offered.offload
        # A server of KV, and blended KV, know none of the rules below.
        if offload is not None and (
            offload.mode is not Mode.IN_PROCESS or offload.blend is not None
        ):
            return
        yield "layer by layer", {"is_layerwise": True}
        if num_tiers > 1:
            yield "prefetching", {"prefetches": True}


def _with_tiers(spec: ServingSpec, change: Callable[[TierSpec], dict[str, object]]) -> ServingSpec:
    return spec.model_copy(
        update={"tiers": tuple(tier.model_copy(update=change(tier)) for tier in spec.tiers)}
    )


def _named(policy: str, _: TierSpec) -> dict[str, object]:
    return {"policy": policy}


def _divided(parts: int, tier: TierSpec) -> dict[str, object]:
    return {"capacity_bytes": (tier.capacity_bytes or 0) // parts or None}


def _size(spec: ServingSpec) -> tuple[int, float]:
    """Return what ranks sizes: the number of tiers, then their bytes; unlimited is the most."""
    return len(spec.tiers), sum(
        float("inf") if tier.capacity_bytes is None else tier.capacity_bytes for tier in spec.tiers
    )
