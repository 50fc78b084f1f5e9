"""A validation, for a person: each plan's prediction beside its measured time."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from hwprofiles.units import format_duration
from rosin.report.checking_documents import ErrorShare, ValidateResult
from rosin.report.tables import name_column, number_column, plain_table

LEGEND = (
    "errors: predicted / measured - 1, median over runs. plain: the simulator alone; absolute: with what real lanes add, fitted once at "
    "the start; paired: fitted from the adjacent run of a calibration plan. noise: how far runs of one plan are from their median."
)


def validate_page(result: ValidateResult) -> Iterator[RenderableType]:
    """Yield the run, a line for each plan, the errors over all plans, and the plans left out."""
    yield Text(f"{result.model} on {result.machine}\n{result.tier}\n{result.host}\n")
    table = plain_table(
        name_column("plan"),
        *(number_column(name) for name in ("measured", "plain", "absolute", "paired", "noise")),
    )
    for plan in result.plans:
        errors = plan.plain_error_fraction, plan.absolute_error_fraction, plan.paired_error_fraction
        # A single run is its own median, so its noise is not known.
        noise = f"{plan.noise_fraction:.2%}" if plan.noise_fraction else "one run"
        shares = *(f"{error:+.2%}" for error in errors), noise
        table.add_row(plan.name, format_duration(plan.measured_s), *shares)
    yield table
    yield Text(f"\n{LEGEND}\n")
    for name in ("paired", "absolute", "plain"):
        share: ErrorShare = getattr(result.error_fraction, name)
        yield Text(f"|{name} error|: median {share.median:.2%}, 90th percentile {share.p90:.2%}")
    floor = f"{result.noise_floor_fraction:.2%}" if result.noise_floor_fraction else "unknown"
    yield Text(f"noise floor {floor}; regret of the plan {result.regret_fraction:.2%}")
    if result.num_preempted_runs:
        yield Text(
            f"{result.num_preempted_runs} runs left out: other processes took the cores of their tasks"
        )
    # Most have one reason in common, which is said once.
    reasons = dict.fromkeys(result.left_out.values())
    for reason in reasons:
        names = ", ".join(name for name, own in result.left_out.items() if own == reason)
        yield Text(f"not run: {names}: {reason}")
