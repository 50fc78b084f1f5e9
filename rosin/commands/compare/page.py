"""A comparison of policies, for a person: a line for each, and why some do not run at all."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import format_bytes, format_duration
from rosin.commands.compare.marks import MARK_WORDS, row_mark
from rosin.commands.simulate.page import RESOURCE_NAMES, scenario_lines
from rosin.report.json_documents import CompareResult
from rosin.report.occupancy import on_one_gpu
from rosin.report.tables import (
    format_count,
    format_share,
    misfit_table,
    name_column,
    number_column,
    plain_table,
    text_column,
)
from sim.step.simulate import Scenario

SHORT_NAMES = {**RESOURCE_NAMES, "h2d": "H2D", "d2h": "D2H", "host": "host"}

LEGEND = (
    "tokens/s: output, prompt time included; best: share of the fastest's. TTFT: time to first token; TPOT: time for each further one. "
    "hits: selected experts found on the GPU. H2D: copied to the GPU. busiest: what worked longest, and its share of the run."
)


def compare_page(result: CompareResult, scenario: Scenario) -> Iterator[RenderableType]:
    """Yield the scenario, the table, the meaning of its columns, and policies that do not fit."""
    yield Text("\n".join(scenario_lines(scenario)))
    yield Text("Every policy meets the same tokens, which select the same experts.\n")
    yield _table(result)
    total = len(scenario.model.moe_layers) * scenario.model.num_experts
    yield Text(f"\n{LEGEND} start: experts there at the start, of {total:,}.")
    for mark, words in MARK_WORDS.items():
        if any(mark in row_mark(row) for row in result.rows):
            yield Text(words)
    if result.infeasible:
        yield Text("\nThese do not fit:")
        yield misfit_table("policy", result.infeasible)


def _table(result: CompareResult) -> Table:
    names = "tokens/s", "best", "TTFT", "TPOT", "hits", "H2D", "start"
    table = plain_table(
        name_column("policy"), *(number_column(name) for name in names), text_column("busiest")
    )
    table.padding = 0  # nine columns in 80 characters
    for row in result.rows:
        metrics = row.metrics
        speed = format_count(metrics.output_tokens_per_s), format_share(row.speed_fraction)
        # With one output token there is no further one to time.
        tpot = format_duration(metrics.tpot_s) if result.scenario.setting.output_tokens > 1 else ""
        counts = (
            format_share(metrics.expert_hit_rate),
            format_bytes(metrics.h2d_bytes),
            f"{metrics.num_resident_experts:,}",
        )
        name, gpu = on_one_gpu(row.busiest_resource)
        busiest = f"{SHORT_NAMES.get(name, name)}{f' {gpu}' if gpu else ''}"
        share = format_share(metrics.utilization[row.busiest_resource])
        table.add_row(
            f"{row.policy}{row_mark(row)}",
            *speed,
            format_duration(metrics.ttft_s),
            tpot,
            *counts,
            f"{busiest} {share}",
        )
    return table
