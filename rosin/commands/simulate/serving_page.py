"""A served run, for a person: waiting times, throughput, where KV was found, and the basis."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import format_bytes, format_duration
from rosin.commands.simulate.page import facts_table
from rosin.commands.simulate.serving_document import ServeResult
from rosin.report.tables import (
    format_count,
    format_share,
    number_column,
    plain_table,
    share_bar,
    text_column,
)
from sim.serving import Percentiles, ServingMetrics, ServingSetting
from sim.serving.metrics import TierUse

LATENCIES = {
    "ttft_s": "time to first token (TTFT)",
    "queue_s": "  of it, waiting to start",
    "tpot_s": "each further token (TPOT)",
    "end_to_end_s": "the whole answer",
}


def serve_page(result: ServeResult, setting: ServingSetting) -> Iterator[RenderableType]:
    """The page of one served run, at most 80 columns."""
    metrics = result.metrics
    yield Text("\n".join(_scenario_lines(result, setting)))
    yield Text()
    yield _latency_table(metrics)
    yield Text()
    yield _throughput_table(metrics, setting.model.max_context_tokens)
    yield Text()
    yield _kv_table(metrics, setting)
    if metrics.tiers:
        yield Text()
        yield _tier_table(metrics.tiers)
    yield Text()
    yield _memory_table(result)
    yield Text()
    counts = ", ".join(
        f"{count} {kind}" for kind, count in result.basis.num_numbers.items() if count
    )
    yield Text(f"Rests on {len(result.basis.numbers)} numbers: {counts} (--json has all of them).")


def _scenario_lines(result: ServeResult, setting: ServingSetting) -> Iterator[str]:
    record = result.scenario
    instance = setting.instance
    metrics = result.metrics
    count = f"{setting.num_instances} instances" if setting.num_instances > 1 else "one instance"
    gpus = f"{instance.num_gpus} GPUs" if instance.num_gpus > 1 else "1 GPU"
    yield f"{record.model} ({record.quantization}, {format_bytes(setting.model.total_bytes)}) on {record.machine}: {count} of {gpus}"
    placed = f", experts placed by {record.policy}" if record.policy else ""
    warmup = (
        f" after {metrics.num_warmup_requests} that warm caches up"
        if metrics.num_warmup_requests
        else ""
    )
    yield f"{metrics.num_requests:,} requests of {record.workload.name}{warmup}{placed}; simulated, not measured"


def _latency_table(metrics: ServingMetrics) -> Table:
    columns = [number_column(name, width=10) for name in ("mean", "p50", "p90", "p99")]
    table = plain_table(text_column("Latency", width=32), *columns)
    for name, words in LATENCIES.items():
        found: Percentiles | None = getattr(metrics, name)
        values = (
            # Where every answer has one token, there is no time between tokens.
            ["none"] * 4
            if found is None
            else [format_duration(value) for value in (found.mean, found.p50, found.p90, found.p99)]
        )
        table.add_row(words, *values)
    return table


def _throughput_table(metrics: ServingMetrics, context_tokens: int) -> Table:
    table = facts_table("Throughput")
    table.add_row(
        "requests",
        f"{format_count(metrics.request_throughput_per_s)} /s",
        f"over {format_duration(metrics.duration_s)}",
    )
    table.add_row(
        "prompt tokens",
        f"{format_count(metrics.prompt_tokens_per_s)} /s",
        "found in a cache or computed",
    )
    table.add_row("output tokens", f"{format_count(metrics.output_tokens_per_s)} /s", "")
    table.add_row(
        "instances busy",
        format_share(metrics.gpu_busy_fraction),
        share_bar(metrics.gpu_busy_fraction, 30),
    )
    # Rows about trouble are there only where there was some.
    if metrics.num_preemptions:
        table.add_row("pre-empted", f"{metrics.num_preemptions:,}", "times KV ran out")
    if metrics.num_rejected_requests:
        limit = f"longer than the {context_tokens:,} tokens of the model, or than the KV memory"
        table.add_row("turned away", f"{metrics.num_rejected_requests:,}", limit)
    return table


def _kv_table(metrics: ServingMetrics, setting: ServingSetting) -> Table:
    table = facts_table("KV of prompts")
    for name, share in metrics.kv_hit_rate.items():
        table.add_row(
            f"found in {'GPU memory' if name == 'gpu' else name}",
            format_share(share),
            share_bar(share, 30),
        )
    computed = 1 - sum(metrics.kv_hit_rate.values())
    table.add_row("computed", format_share(computed), share_bar(computed, 30))
    left = (
        metrics.gpu_kv_evicted_blocks
        * setting.instance.block_tokens
        * setting.model.kv_bytes_per_token
    )
    table.add_row("KV evicted from GPU memory", format_bytes(left) if left else "0", "")
    return table


def _tier_table(tiers: tuple[TierUse, ...]) -> Table:
    """Return a table of the tiers behind the GPU, and of how busy the way to each was."""
    columns = [
        number_column(name)
        for name in ("size", "most held", "written", "left", "read", "reads", "writes")
    ]
    table = plain_table(text_column("Tier"), *columns)
    for tier in tiers:
        size = "unlimited" if tier.capacity_bytes is None else format_bytes(tier.capacity_bytes)
        sizes = [
            format_bytes(value) if value else "0"
            for value in (tier.peak_bytes, tier.stored_bytes, tier.evicted_bytes, tier.read_bytes)
        ]
        table.add_row(
            tier.name,
            size,
            *sizes,
            format_share(tier.read_busy_fraction),
            format_share(tier.write_busy_fraction),
        )
    return table


def _memory_table(result: ServeResult) -> Table:
    table = facts_table("GPU memory of an instance")
    memory = result.memory
    for item in memory.items:
        table.add_row(
            item.item, format_bytes(item.bytes), share_bar(item.bytes / memory.total_bytes, 30)
        )
    table.add_row(
        "KV in use at the most", format_share(result.metrics.gpu_kv_peak_fraction), "of its blocks"
    )
    return table
