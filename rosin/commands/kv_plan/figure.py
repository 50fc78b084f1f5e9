"""Ways of serving that were tried, as a picture."""

from rosin.commands.simulate.serving_document import KvPlanResult
from rosin.report.bar_figure import NamedBar, bar_picture
from rosin.report.tables import format_count

MAX_BARS = 24


def draw_kv_plan(result: KvPlanResult, suffix: str) -> bytes:
    """Return a picture of the mean time to the whole answer for each way tried, the best first.

    ``suffix`` chooses the format.
    """
    bars = [
        NamedBar(
            name=row.label,
            value=row.metrics.end_to_end_s.mean,
            words=f"{format_count(row.metrics.end_to_end_s.mean)} s",
            is_chosen=row.label == result.best.label,
        )
        for row in result.rows[:MAX_BARS]
    ]
    title = f"{result.model} on {result.machine}, {result.workload}; simulated\ngreen: the plan, best for {result.objective}"
    return bar_picture(title, "mean time from arrival to the whole answer (s)", bars).render(suffix)
