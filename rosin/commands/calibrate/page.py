"""A calibration, for a person: the fitted factors, and the errors with and without them."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from hwprofiles.units import NS_PER_S, format_duration
from rosin.report.checking_documents import CalibrateResult, FittedFactor
from rosin.report.tables import format_share, name_column, number_column, plain_table, text_column


def calibrate_page(result: CalibrateResult) -> Iterator[RenderableType]:
    """Yield the factors, the overhead of a layer, and the errors on held-out runs."""
    yield Text(f"{result.machine['description']}\n")
    table = plain_table(
        name_column("lane"), text_column("part"), number_column("price"), number_column("tasks")
    )
    for factor in result.factors:
        table.add_row(
            factor.lane, factor.part.replace("_", " "), _change(factor), f"{factor.num_tasks:,}"
        )
    yield table
    before, after = (
        format_duration(ns / NS_PER_S)
        for ns in (result.before_layer_overhead_ns, result.layer_overhead_ns)
    )
    yield Text(f"\na layer takes {after} beside its operations (before: {before})\n")
    if result.held_out:
        errors = plain_table(
            name_column("held-out plan"),
            number_column("error before"),
            number_column("after"),
            text_column("fitted to"),
        )
        for one in result.held_out:
            errors.add_row(
                one.plan, f"{one.before_fraction:+.1%}", f"{one.after_fraction:+.1%}", one.fitted_to
            )
        yield errors
        yield Text(
            "error: predicted / measured - 1 of whole runs, by a fit that had no part in them; median over the runs held out"
        )
    yield Text(
        f"\n{result.num_runs} runs; those of one plan vary by {format_share(result.variation_fraction)}"
    )
    yield Text(
        f"Written to {result.path}; what it fits is marked fitted. Compare it with runs made after these: rosin validate."
    )


def _change(factor: FittedFactor) -> str:
    if factor.factor is not None:
        return f"times {factor.factor:.3f}"
    # Copies of activations have a time that is added, and no factor.
    delay_ns = factor.delay_ns or 0.0
    return f"{'+' if delay_ns >= 0 else '-'} {format_duration(abs(delay_ns) / NS_PER_S)}"
