"""A simulated run, for a person who has never seen one: its speed, its time and its basis."""

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles import Kind, Machine
from hwprofiles.quantity import STRENGTH
from hwprofiles.units import format_bytes, format_duration
from rosin.report.json_documents import Basis, HostMemory, Memory, ResourceTime, SimulateResult
from rosin.report.occupancy import on_one_gpu
from rosin.report.tables import (
    format_count,
    format_quantity,
    format_share,
    number_column,
    plain_table,
    share_bar,
    shortened,
    text_column,
)
from sim.step.long import LongRun
from sim.step.simulate import Run, Scenario

RESOURCE_NAMES: Mapping[str, str] = {
    "gpu": "GPU",
    "cpu": "CPU",
    "h2d": "copies to GPU",
    "d2h": "copies from GPU",
    "host": "host software",
    "matcher": "expert maps",
}
KIND_NAMES: Mapping[str, str] = {
    "expert": "experts",
    "fetch": "missing experts",
    "layer_fetch": "whole layers",
    "page": "pages of weights",
    "kv_copy": "KV cache",
    "projection": "attention's products",
    "evict": "leaving experts",
    "activation_copy": "activations",
    "gate": "routers",
    "dense_ffn": "dense layers",
    "shared_expert": "shared experts",
    "head": "vocabulary",
    "prefetch": "prefetches",
    "early_fetch": "early experts",
    "slot_fetch": "missing experts",
    "lookup": "looking up maps",
    "overhead": "between layers",
    "attention": "attention",
    "other": "other work",
}
EMULATED = "Emulated accelerator"
"""The beginning of a machine's description that ``rosin measure --device cpu`` writes."""
NEARLY_ALL_FRACTION = 0.95
NUM_WEAK_SHOWN = 3
SOURCE_WIDTH = 34


def run_page(
    run: Run | LongRun, result: SimulateResult, num_draws: int = 1
) -> Iterator[RenderableType]:
    """The page of one run, or of the mean over several draws, at most 80 columns and about 45
    lines.
    """
    yield Text(f"policy {run.scenario.policy.name}: {run.scenario.policy.summary}")
    yield Text("\n".join(scenario_lines(run.scenario)))
    yield Text()
    yield speed_table(run)
    if num_draws > 1:
        yield Text(
            f"means over {num_draws} draws of the routing; where time goes is of the first",
            style="dim",
        )
    yield Text()
    yield time_table(result.time)
    yield Text(at_once(result.time), style="dim")
    yield Text()
    yield _reasons(run)
    yield Text()
    yield memory_table(result.memory, result.host_memory)
    yield Text()
    yield Text("\n".join(basis_lines(result.basis)))
    yield weakest_table(result.basis, result.time)


def resource_name(resource: str) -> str:
    """Return a resource's name as people say it."""
    name, gpu = on_one_gpu(resource)
    return f"{RESOURCE_NAMES.get(name, name)} {gpu}" if gpu else RESOURCE_NAMES.get(name, name)


def scenario_lines(scenario: Scenario) -> Iterator[str]:
    """Yield three lines on the model, the machine, the batch and the routing, not the policy."""
    model = scenario.model
    batch = scenario.batch
    yield f"{model.name} ({model.quantization}, {format_bytes(model.total_bytes)}) on {machine_words(scenario.machine)}"
    prompts = f"{batch.batch_size:,} prompts" if batch.batch_size > 1 else "1 prompt"
    beams = f" with {batch.beams} beams" if batch.beams > 1 else ""
    each = " each" if batch.batch_size > 1 else ""
    yield f"{prompts} of {batch.prompt_tokens:,} tokens, {batch.output_tokens:,} output tokens{each}{beams}; simulated, not measured"
    yield f"experts are selected by: {scenario.routing.description} ({scenario.routing.provenance.kind}), seed {scenario.seed}"


def machine_words(machine: Machine) -> str:
    """Return a machine's name, and whether its accelerator is emulated."""
    is_emulated = machine.description.startswith(EMULATED)
    return f"{machine.name} (emulated accelerator, no GPU)" if is_emulated else machine.name


def speed_table(run: Run | LongRun) -> Table:
    """Return a table of four figures: TTFT, TPOT, output speed and the time of the whole run."""
    metrics = run.metrics
    table = facts_table("Speed")
    prompt = f"prompt read at {format_count(metrics.prefill_tokens_per_s)} tokens/s"
    table.add_row("time to first token (TTFT)", format_duration(metrics.ttft_s), prompt)
    has_decode = run.scenario.batch.output_tokens > 1
    table.add_row(
        "each further token (TPOT)", format_duration(metrics.tpot_s) if has_decode else "none", ""
    )
    table.add_row(
        "output, prompt time included", f"{format_count(metrics.output_tokens_per_s)} tokens/s", ""
    )
    table.add_row("the whole run", format_duration(metrics.end_to_end_s), "")
    return table


def time_table(times: list[ResourceTime]) -> Table:
    """What every resource was busy with, and how long."""
    columns = (
        number_column("busy"),
        number_column("share"),
        text_column("of the run", width=15),
        number_column("alone"),
    )
    table = plain_table(text_column("Where time goes", width=16), *columns, text_column("doing"))
    for time in times:
        shares = (
            format_share(time.busy_fraction),
            share_bar(time.busy_fraction, 15),
            format_share(time.alone_fraction),
        )
        table.add_row(
            resource_name(time.resource), format_duration(time.busy_s), *shares, main_work(time)
        )
    return table


def main_work(time: ResourceTime) -> str:
    """Return a resource's main work, and its share of the busy time unless that is nearly all."""
    kind, seconds = next(iter(time.kinds_s.items()))
    share = seconds / time.busy_s
    return KIND_NAMES.get(kind, kind) + (
        "" if share >= NEARLY_ALL_FRACTION else f" {format_share(share)}"
    )


def at_once(times: list[ResourceTime]) -> str:
    """Return a legend for the table of time, with how much work overlaps."""
    total = sum(time.busy_fraction for time in times)
    single = sum(time.alone_fraction for time in times)
    # Rounding may leave the sum a little below the part.
    at_once = max(0.0, total - single)
    note = (
        "nothing overlaps"
        if at_once < 0.005
        else f"shares sum to {format_share(total)}: some work at once"
    )
    return f"alone: while nothing else was busy; {note}"


def _reasons(run: Run | LongRun) -> Table:
    metrics = run.metrics
    model = run.scenario.model
    total = len(model.moe_layers) * model.num_experts
    table = facts_table("Why")
    held = f"{metrics.num_resident_experts:,} of {total:,}"
    table.add_row(
        "experts on the GPU at the start", held, f"{format_bytes(model.expert_bytes)} each"
    )
    table.add_row(
        "selected experts found there",
        format_share(metrics.expert_hit_rate),
        "hit rate, prompt included",
    )
    if run.scenario.batch.output_tokens > 1:
        missing = format_count(metrics.decode_expert_misses_per_step)
        table.add_row(
            "missing for each further token",
            missing,
            f"distinct experts, in {len(model.moe_layers)} layers",
        )
    calls = f"{metrics.gpu_expert_calls:,} / {metrics.cpu_expert_calls:,}"
    table.add_row("expert calls on GPU / CPU", calls, "one per expert, layer and pass")
    table.add_row(
        "copied to the GPU", format_bytes(metrics.h2d_bytes), _per_token(metrics.h2d_bytes, run)
    )
    table.add_row(
        "copied from the GPU", format_bytes(metrics.d2h_bytes), _per_token(metrics.d2h_bytes, run)
    )
    if metrics.prefetched_bytes:
        table.add_row(
            "copied ahead of need",
            format_bytes(metrics.prefetched_bytes),
            f"{format_bytes(metrics.wasted_prefetch_bytes)} unused",
        )
    return table


def _per_token(num_bytes: int, run: Run | LongRun) -> str:
    # Beams end in one answer, so they count as no output of their own.
    tokens = run.scenario.batch.batch_size * run.scenario.batch.output_tokens
    return f"{format_bytes(num_bytes / tokens)} per output token"


def memory_table(memory: Memory, host: HostMemory) -> Table:
    """What GPU memory holds, and how much of the model host memory does."""
    table = facts_table("GPU memory")
    for item in memory.items:
        table.add_row(
            item.item, format_bytes(item.bytes), share_bar(item.bytes / memory.total_bytes, 30)
        )
    peak = f"of {format_bytes(memory.total_bytes)}, {format_share(memory.peak_bytes / memory.total_bytes)}"
    table.add_row("the most at once", format_bytes(memory.peak_bytes), peak)
    of_all = "host memory; its size is not stated"
    if host.total_bytes is not None:
        share = format_share(host.held_bytes / host.total_bytes)
        if host.held_bytes > host.total_bytes:
            share = "the rest is read from the disk"
        of_all = f"of {format_bytes(host.total_bytes)} host memory, {share}"
    table.add_row("in the host, of the model", format_bytes(host.held_bytes), of_all)
    return table


def basis_lines(basis: Basis) -> Iterator[str]:
    """How many numbers of each kind the run rests on."""
    counts = ", ".join(f"{count} {kind}" for kind, count in basis.num_numbers.items() if count)
    yield f"Rests on {len(basis.numbers)} numbers of the machine: {counts}."
    worst = _weakest_kind(basis)
    # Nothing is better than measured numbers, so none of those needs to be named.
    if worst is not Kind.MEASURED:
        yield f"Some {worst} ones, of the busiest part first (--json has all of them):"


def weakest_table(basis: Basis, times: list[ResourceTime]) -> Table:
    """Return a table of the numbers with the weakest provenance, the busiest resource's first."""
    table = plain_table(
        text_column("number"), number_column("value"), text_column("source"), has_head=False
    )
    busy = {time.resource: time.busy_s for time in times}
    worst = _weakest_kind(basis)
    weak = [
        number
        for number in basis.numbers
        if number.provenance.kind is worst and worst is not Kind.MEASURED
    ]
    weak.sort(key=lambda number: -busy.get(_resource_of(number.path), 0.0))
    for number in weak[:NUM_WEAK_SHOWN]:
        path = number.path.partition(" ")[0]
        table.add_row(
            path,
            format_quantity(path, number.value),
            shortened(number.provenance.source, SOURCE_WIDTH),
        )
    return table


def _weakest_kind(basis: Basis) -> Kind:
    return max(
        (number.provenance.kind for number in basis.numbers), key=lambda kind: STRENGTH[kind]
    )


def _resource_of(path: str) -> str:
    """The resource that a number of the machine prices."""
    # A number of the link belongs to the lane of its direction.
    return path.removeprefix("link.").partition(".")[0]


def facts_table(title: str) -> Table:
    """Return an empty table with columns for a name, a value and a remark."""
    return plain_table(
        text_column(title, width=32), number_column("", width=15), text_column("", width=31)
    )
