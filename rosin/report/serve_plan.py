"""How to serve a workload: what was tried, what is best, and whether tiers of KV are worth it."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import format_bytes, format_duration
from planner.serving import MARGIN_FRACTION, ServingChoice, ServingPlan, ServingQuestion
from rosin.report.serve_documents import KvPlanResult, TriedServing
from rosin.report.tables import format_count, format_share, number_column, plain_table, text_column

NUM_SHOWN = 12


def plan_record(found: ServingPlan, question: ServingQuestion, path: str | None, kv_path: str | None) -> KvPlanResult:
    """The plan as JSON has it."""
    return KvPlanResult(
        machine=question.machine.name,
        model=question.model.name,
        workload=question.requests.name,
        objective=question.objective,
        verdict=verdict(found),
        tiers_gain_fraction=found.gain_fraction,
        best=_tried(found.best),
        path=path,
        kv_path=kv_path,
        rows=[_tried(row) for row in found.rows],
    )


def verdict(found: ServingPlan) -> str:
    """Whether to use tiers, in a sentence."""
    if found.gain_fraction is None:
        return "No tiers were offered; --kv-tier cpu=SIZE asks whether they would help."
    change = f"{abs(found.gain_fraction):.1%} {'better' if found.gain_fraction > 0 else 'worse'}"
    if found.uses_tiers:
        names = " and ".join(_tier_words(tier.name, tier.capacity_bytes) for tier in found.best.spec.tiers)
        return f"Use {names}: the best with tiers is {change} than the best without."
    return (
        f"Leave offloading off: the best with tiers is {change} than the best without (less than {MARGIN_FRACTION:.0%} counts as nothing)."
    )


def serve_plan_page(result: KvPlanResult) -> Iterator[RenderableType]:
    """The page, at most 80 columns."""
    yield Text(
        f"{result.model} on {result.machine}, {result.best.metrics.num_requests:,} requests of {result.workload}; simulated, not measured"
    )
    yield Text()
    yield Text(f"Best for {result.objective}: {result.best.label}", style="bold")
    yield Text(result.verdict)
    if result.path is not None:
        yield Text(f"Written to {result.path}; rosin simulate --serving {result.path} runs it.")
    if result.kv_path is not None:
        yield Text(f"Its tiers are in {result.kv_path}; rosin export {result.kv_path} --to lmcache writes them for LMCache.")
    yield Text()
    yield _rows_table(result)
    if len(result.rows) > NUM_SHOWN:
        yield Text(f"{len(result.rows) - NUM_SHOWN} more are in --json.", style="dim")


def _rows_table(result: KvPlanResult) -> Table:
    columns = [number_column(name) for name in ("TTFT", "TPOT", "answer", "req/s", "found")]
    table = plain_table(text_column(f"Tried, best {result.objective} first"), *columns)
    for row in result.rows[:NUM_SHOWN]:
        metrics = row.metrics
        tpot = format_duration(metrics.tpot_s.mean) if metrics.tpot_s else "none"
        times = format_duration(metrics.ttft_s.mean), tpot, format_duration(metrics.end_to_end_s.mean)
        found = format_share(sum(metrics.kv_hit_rate.values()))
        table.add_row(row.label, *times, format_count(metrics.request_throughput_per_s), found)
    return table


def _tried(choice: ServingChoice) -> TriedServing:
    return TriedServing(label=choice.label, serving=choice.spec.model_dump(mode="json"), metrics=choice.metrics)


def _tier_words(name: str, capacity_bytes: float | None) -> str:
    return f"{name} (unlimited)" if capacity_bytes is None else f"{format_bytes(capacity_bytes)} of {name}"
