"""A serving plan, for a person: the ways tried, the best one, and whether KV tiers are worth it."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import format_bytes, format_duration
from planner.serving.offload import MARGIN_FRACTION
from planner.serving.serving_plan import ServingChoice, ServingPlan, ServingQuestion, TargetMissed
from planner.serving.shares import share_words
from planner.serving.target import ServingTarget
from rosin.commands.simulate.serving_document import KvPlanResult, TriedServing
from rosin.report.tables import format_count, format_share, number_column, plain_table, text_column
from sim.serving.offload_options import OffloadSpec
from sim.serving.spec import ServingSpec

NUM_SHOWN = 12


def plan_record(
    found: ServingPlan, question: ServingQuestion, path: str | None, kv_path: str | None
) -> KvPlanResult:
    """Return the plan as the JSON shows it; ``path`` and ``kv_path`` are the files written."""
    target = question.target or ServingTarget()
    return KvPlanResult(
        machine=question.machine.name,
        model=question.model.name,
        workload=question.requests.name,
        objective=question.objective,
        max_ttft_s=target.max_ttft_s,
        max_itl_s=target.max_itl_s,
        verdict=verdict(found),
        tiers_gain_fraction=found.gain_fraction,
        best=_tried(found.best, question.target),
        against=None if found.against is None else _tried(found.against, question.target),
        gain_over_against_fraction=found.gain_over_against_fraction,
        path=path,
        kv_path=kv_path,
        rows=[_tried(row, question.target) for row in found.rows],
    )


def verdict(found: ServingPlan) -> str:
    """Return a sentence that says whether to use KV tiers."""
    if found.gain_fraction is None:
        return "No tiers were offered; --kv-tier cpu=SIZE asks whether they would help."
    # Only one of the two may be chosen, so a difference in percent would say nothing.
    if (
        found.with_tiers is not None
        and found.with_tiers.meets_target != found.without_tiers.meets_target
    ):
        missing = "without tiers" if found.uses_tiers else "with tiers"
        return f"{_advice(found)}: {missing}, nothing that was tried meets the target on {_gpus(found.best.num_gpus)}."
    change = f"{abs(found.gain_fraction):.1%} {'better' if found.gain_fraction > 0 else 'worse'}"
    margin = "" if found.uses_tiers else f" (less than {MARGIN_FRACTION:.0%} counts as nothing)"
    return f"{_advice(found)}: the best with tiers is {change} than the best without{margin}."


def missed(found: TargetMissed) -> str:
    """Return a line that says that the target is missed, and how near the nearest way comes."""
    nearest = found.nearest
    target = found.target
    reached = []
    if target.max_ttft_s is not None:
        reached.append(
            f"a p90 TTFT of {nearest.metrics.ttft_s.p90:.3g} s (--max-ttft {target.max_ttft_s:g} s)"
        )
    if target.max_itl_s is not None:
        # Answers of one token have no time between tokens.
        p90_s = nearest.metrics.tpot_s.p90 if nearest.metrics.tpot_s else 0.0
        reached.append(f"a p90 ITL of {p90_s:.3g} s (--max-itl {target.max_itl_s:g} s)")
    return f"no way of serving that was tried meets the target: the nearest, {nearest.label}, has {' and '.join(reached)}"


def serve_plan_page(result: KvPlanResult) -> Iterator[RenderableType]:
    """Yield the page of a serving plan, at most 80 columns wide."""
    yield Text(
        f"{result.model} on {result.machine}, {result.best.metrics.num_requests:,} requests of {result.workload}; simulated, not measured"
    )
    yield Text()
    limits = _limits(result)
    if limits:
        yield Text(f"Target: {limits}")
        yield Text(f"The fewest GPUs that meet it: {result.best.num_gpus}")
    yield Text(f"Best for {result.objective}: {result.best.label}", style="bold")
    yield Text(result.verdict)
    if result.against is not None:
        yield Text(_lost(result, result.against))
    if result.path is not None:
        yield Text(
            f"Written to {result.path}; rosin simulate --serving {result.path} with the same model, "
            "machine and workload runs it."
        )
    if result.kv_path is not None:
        yield Text(
            f"Its tiers are in {result.kv_path}; rosin export {result.kv_path} --to lmcache writes them for LMCache."
        )
    yield Text()
    yield _rows_table(result)
    if len(result.rows) > NUM_SHOWN:
        yield Text(f"{len(result.rows) - NUM_SHOWN} more are in --json.", style="dim")


def _rows_table(result: KvPlanResult) -> Table:
    has_target = result.best.meets_target is not None
    names = ("p90 TTFT", "p90 ITL") if has_target else ("TTFT", "TPOT")
    columns = [number_column(name) for name in (*names, "answer", "req/s", "found")]
    table = plain_table(
        text_column(
            "Tried, what meets the target first"
            if has_target
            else f"Tried, best {result.objective} first"
        ),
        *columns,
    )
    # What is run today comes first: the comparison was asked for because of it.
    own = [] if result.against is None else [result.against]
    tried = [row for row in result.rows if not own or row.serving != own[0].serving]
    for row in [*own, *tried[:NUM_SHOWN]]:
        metrics = row.metrics
        which = "p90" if has_target else "mean"
        tpot = format_duration(getattr(metrics.tpot_s, which)) if metrics.tpot_s else "none"
        times = (
            format_duration(getattr(metrics.ttft_s, which)),
            tpot,
            format_duration(metrics.end_to_end_s.mean),
        )
        found = format_share(sum(metrics.kv_hit_rate.values()))
        table.add_row(row.label, *times, format_count(metrics.request_throughput_per_s), found)
    return table


def _lost(result: KvPlanResult, against: TriedServing) -> str:
    """Return a sentence that compares the configuration that runs today with the best one."""
    spec = ServingSpec.model_validate(against.serving)
    gain = result.gain_over_against_fraction or 0.0
    name = f"What you run ({_running_words(spec)})"
    if against.serving == result.best.serving:
        return f"{name} is the best."
    if abs(gain) <= MARGIN_FRACTION:
        return f"{name} is as good, within {MARGIN_FRACTION:.0%}."
    if gain < 0:
        return f"{name} is {-gain:.1%} better, with more memory or more GPUs than the best."
    return f"{name}: the best is {gain:.1%} better."


def _running_words(spec: ServingSpec) -> str:
    """Return in words the instances, the tiers, and the rules other than LMCache's defaults."""
    words = [share_words(spec.num_instances, spec.instance.num_gpus or 1)]
    words += [_tier_words(tier.name, tier.capacity_bytes) for tier in spec.tiers]
    if not spec.tiers:
        words.append("no tiers")
    rules = spec.offload or OffloadSpec()
    words.append(f"chunks of {rules.chunk_tokens} tokens")
    words += [f"{tier.policy}" for tier in spec.tiers[:1] if tier.policy != "lru"]
    if rules.is_layerwise:
        words.append("layer by layer")
    if rules.prefetches:
        words.append("prefetching")
    return ", ".join(words)


def _tried(choice: ServingChoice, target: ServingTarget | None) -> TriedServing:
    return TriedServing(
        label=choice.label,
        num_gpus=choice.num_gpus,
        # Null says that nothing was asked for; true would say that it was met.
        meets_target=None if target is None else choice.meets_target,
        serving=choice.spec.model_dump(mode="json"),
        metrics=choice.metrics,
    )


def _limits(result: KvPlanResult) -> str:
    """The target in words; empty without one."""
    limits = {"first token": result.max_ttft_s, "each next": result.max_itl_s}
    words = [
        f"{name} within {format_duration(limit)}"
        for name, limit in limits.items()
        if limit is not None
    ]
    return f"{' and '.join(words)} for 90 % of requests" if words else ""


def _advice(found: ServingPlan) -> str:
    names = " and ".join(
        _tier_words(tier.name, tier.capacity_bytes) for tier in found.best.spec.tiers
    )
    return f"Use {names}" if names else "Leave offloading off"


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count > 1 else ''}"


def _tier_words(name: str, capacity_bytes: float | None) -> str:
    return (
        f"{name} (unlimited)"
        if capacity_bytes is None
        else f"{format_bytes(capacity_bytes)} of {name}"
    )
