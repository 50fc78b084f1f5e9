"""The sections of one simulated run: speed, time, memory, timeline, hits, and provenance."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hwprofiles.units import NS_PER_S, format_bytes, format_duration
from rosin.commands.simulate.document import host_memory, resource_times, run_memory
from rosin.commands.simulate.page import KIND_NAMES, resource_name
from rosin.report.html import charts
from rosin.report.html.charts import Bar, Slice, color
from rosin.report.html.markup import Section, facts, legend, table
from rosin.report.json_documents import MemoryItem
from rosin.report.tables import format_count, format_quantity, format_share
from sim.engine.task import TaskKind
from sim.engine.trace_slices import task_name, track_name
from sim.policies.actions import Action, LayerMode
from sim.step.provenance import RunProvenance
from sim.step.simulate import Run

MAX_SLICES = 2_500
"""The most tasks of one step that are drawn; more would make a page of many megabytes."""
MAX_HEAT_COLUMNS = 512
KIND_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "expert": "c0",
        "attention": "c1",
        "projection": "c1",
        "dense_ffn": "c2",
        "shared_expert": "c2",
        "head": "c3",
        "gate": "c4",
        "fetch": "c5",
        "slot_fetch": "c5",
        "layer_fetch": "c5",
        "page": "c5",
        "prefetch": "c3",
        "early_fetch": "c3",
        "evict": "c2",
        "activation_copy": "c6",
        "kv_copy": "c6",
    }
)
"""The colour of each kind of work, the same in every chart; c7 is for other kinds."""


def run_sections(run: Run, provenance: RunProvenance) -> Iterator[Section]:
    """Yield the sections of a run, in the order in which a reader asks."""
    yield speed_section(run)
    yield time_section(run)
    yield memory_section(run)
    yield map_section(run)
    yield from timeline_sections(run)
    yield hits_section(run)
    yield provenance_section(provenance)


def speed_section(run: Run) -> Section:
    """Return the section of the speed and the expert hit rate."""
    metrics = run.metrics
    rows = [
        ("time to first token", format_duration(metrics.ttft_s)),
        ("each further token", format_duration(metrics.tpot_s) if metrics.tpot_s else "none"),
        ("output, prompt time included", f"{format_count(metrics.output_tokens_per_s)} tokens/s"),
        ("the whole run", format_duration(metrics.end_to_end_s)),
        ("prompt", f"{format_count(metrics.prefill_tokens_per_s)} tokens/s"),
        ("expert hit rate", format_share(metrics.expert_hit_rate)),
    ]
    batch = run.scenario.batch
    prompts = f"{batch.batch_size:,} prompts" if batch.batch_size > 1 else "one prompt"
    lead = f"For {prompts} of {batch.prompt_tokens:,} tokens and {batch.output_tokens:,} output tokens; simulated, not measured."
    return Section(title="Speed", lead=lead, body=facts(rows))


def time_section(run: Run) -> Section:
    """What every resource was busy with, stacked by kind of work."""
    times = resource_times(run)
    kinds = list(dict.fromkeys(kind for time in times for kind in time.kinds_s))
    classes = {kind: KIND_COLORS.get(kind, "c7") for kind in kinds}
    rows = [
        Bar(
            name=resource_name(time.resource),
            parts=[
                (classes[kind], seconds, f"{_kind(kind)}: {format_duration(seconds)}")
                for kind, seconds in time.kinds_s.items()
            ],
            value=f"{format_share(time.busy_fraction)}, {format_duration(time.busy_s)}",
        )
        for time in times
    ]
    whole = run.timeline.makespan_ns / NS_PER_S
    lines = [
        (resource_name(time.resource), _kind(kind), format_duration(seconds))
        for time in times
        for kind, seconds in time.kinds_s.items()
    ]
    body = charts.bars("Busy time of each resource, by kind of work", rows, whole)
    body += legend(_key_of(kinds))
    body += table(
        "Busy time by resource and kind", ("resource", "work", "busy"), lines, is_folded=True
    )
    takes = format_duration(whole)
    mean = format_duration(run.metrics.end_to_end_s)
    # The timeline is the first draw's, and the figures of speed are means over all draws.
    of_draw = "" if takes == mean else f" of the first draw; the mean over draws is {mean}"
    lead = f"The full width is the whole run, {takes}{of_draw}. Resources may work at once."
    return Section(title="Where time goes", lead=lead, body=body)


def memory_section(run: Run) -> Section:
    """What GPU and host memory hold, each stacked to its size."""
    gpu = run_memory(run)
    host = host_memory(run)
    rows = []
    lines = []
    words = []
    for name, items, total in (
        ("GPU memory", gpu.items, gpu.total_bytes),
        ("host memory", host.items, host.total_bytes),
    ):
        held = sum(item.bytes for item in items)
        # Where the size of host memory is not stated, its bar is as long as what it holds.
        whole = total or held
        parts = [
            (color(place), item.bytes / max(1, whole), f"{item.item}: {format_bytes(item.bytes)}")
            for place, item in enumerate(items)
        ]
        size = f"of {format_bytes(total)}" if total else "size not stated"
        rows.append(Bar(name=name, parts=parts, value=f"{format_bytes(held)} {size}"))
        lines += [(name, item.item, format_bytes(item.bytes)) for item in items]
        words.append((name, items))
    body = charts.bars("Memory held, by item", rows, 1.0)
    for name, items in words:
        body += f"<h3>{name}</h3>" + legend(_entries(items))
    body += table("Memory by item", ("memory", "item", "bytes"), lines, is_folded=True)
    lead = "The full width is all the memory there is; what is held is the most at once."
    return Section(title="Memory", lead=lead, body=body)


def map_section(run: Run) -> Section:
    """Return the map of where each expert is at the start, with a row for each MoE layer."""
    model = run.scenario.model
    residency = run.residency
    layers = list(model.moe_layers)
    held = residency.experts[layers]
    # Numbers of colours: 0 and 7 are the two of the legend below.
    cells = [[0 if there else 7 for there in row] for row in held.tolist()]
    # More experts than a row can show: only how many are on the GPU can be seen, so they stand
    # together.
    cells = [sorted(row) if len(row) > MAX_HEAT_COLUMNS else row for row in cells]
    rows = [
        (str(layer), f"{int(row.sum()):,}", f"{len(row) - int(row.sum()):,}")
        for layer, row in zip(layers, held, strict=True)
    ]
    body = charts.heat_map("Experts on the GPU at the start, by layer", cells, "expert", "layer")
    body += legend([("c0", "on a GPU"), ("c7", "in host memory")])
    body += table(
        "Experts of each layer", ("layer", "on a GPU", "in host memory"), rows, is_folded=True
    )
    total = held.size
    lead = f"{int(held.sum()):,} of {total:,} experts are on a GPU at the start, {format_bytes(model.expert_bytes)} each."
    return Section(title="Where experts are", lead=lead, body=body)


def timeline_sections(run: Run) -> Iterator[Section]:
    """Yield the last decode step, if there is one, and the prompt's first pass, task by task."""
    tasks = run.timeline.tasks
    steps = [("The prompt, task by task", 0)]
    # The first output token comes out of the prompt's pass, so with one token there is no decode
    # step.
    if run.scenario.batch.output_tokens > 1:
        steps.insert(0, ("One decode step, task by task", int(tasks.step.max())))
    for title, step in steps:
        mine = np.flatnonzero((tasks.step == step) & ~run.timeline.is_dropped)
        if len(mine):
            yield _timeline_section(run, title, mine)


def _timeline_section(run: Run, title: str, mine: NDArray[np.int64]) -> Section:
    timeline = run.timeline
    tasks = run.timeline.tasks
    # Stable, so that tasks which start at once keep their order and the page is always the same.
    mine = mine[np.argsort(timeline.start_ns[mine], kind="stable")]
    shown = mine[:MAX_SLICES]
    begins_ns = int(timeline.start_ns[shown].min())
    ends_ns = int(timeline.end_ns[shown].max())
    kinds = [TaskKind(kind).name.lower() for kind in np.unique(tasks.kind[shown]).tolist()]
    classes = {kind: KIND_COLORS.get(kind, "c7") for kind in kinds}
    span_ns = max(1, ends_ns - begins_ns)
    rows = []
    for index, resource in enumerate(timeline.platform.resources):
        own = shown[tasks.resource[shown] == index]
        if len(own):
            slices = [_slice(run, number, classes, begins_ns, span_ns) for number in own.tolist()]
            rows.append((track_name(resource.name), slices))
    cut = "" if len(shown) == len(mine) else f" Its first {len(shown):,} of {len(mine):,} tasks."
    slider = (
        '<p class="zoom"><label>Zoom <input type="range" min="1" max="60" step="0.5" value="1" '
        "data-zoom></label></p>"
    )
    body = slider + charts.lanes(title, rows) + legend(_key_of(kinds))
    # A table of all tasks would be longer than anybody reads.
    lines = [
        (name, each.words.partition(": ")[0], each.words.partition(": ")[2])
        for name, slices in rows
        for each in slices[:100]
    ]
    body += table("The first tasks of each lane", ("lane", "task", "when"), lines, is_folded=True)
    lead = f"{format_duration(span_ns / NS_PER_S)} from left to right; stretch it with the slider, scroll sideways.{cut}"
    return Section(title=title, lead=lead, body=body)


def _slice(run: Run, number: int, classes: dict[str, str], begins_ns: int, span_ns: int) -> Slice:
    timeline = run.timeline
    start_ns = int(timeline.start_ns[number])
    end_ns = int(timeline.end_ns[number])
    kind = TaskKind(int(timeline.tasks.kind[number])).name.lower()
    lasts = format_duration((end_ns - start_ns) / NS_PER_S)
    at = format_duration((start_ns - begins_ns) / NS_PER_S)
    return Slice(
        start=(start_ns - begins_ns) / span_ns,
        end=(end_ns - begins_ns) / span_ns,
        color=classes[kind],
        words=f"{task_name(timeline, number)}: {lasts}, from {at}",
    )


def hits_by_layer(run: Run) -> list[float]:
    """Return the expert hit rate of each MoE layer.

    It is the share of (token, expert) selections whose weights were on a GPU when the gate made
    them. ``expert_hit_rate`` is the same share over all layers.
    """
    decisions = run.decisions
    layers = list(run.scenario.model.moe_layers)
    # A layer on the CPU computes there, even where its weights are on the GPU as well.
    can_hit = np.isin(decisions.modes, (int(LayerMode.GPU), int(LayerMode.PIPELINE)))
    is_there = decisions.actions == int(Action.RESIDENT)
    if decisions.spilled is not None:
        is_there |= decisions.spilled
    hits = np.where(is_there & can_hit[:, :, None], run.tokens, 0).sum(axis=(0, 2))[layers]
    every = run.tokens.sum(axis=(0, 2))[layers]
    # A layer may have no selections at all.
    shares: list[float] = (hits / np.maximum(1, every)).tolist()
    return shares


def hits_section(run: Run) -> Section:
    """How often a layer's experts were on the GPU."""
    layers = run.scenario.model.moe_layers
    shares = hits_by_layer(run)
    rows = [
        Bar(
            name=f"layer {layer}",
            parts=[("c0", share, format_share(share))],
            value=format_share(share),
        )
        for layer, share in zip(layers, shares, strict=True)
    ]
    lines = [(row.name, row.value) for row in rows]
    body = charts.bars("Expert hit rate by layer", rows, 1.0)
    body += table("Hit rates", ("layer", "hit rate"), lines, is_folded=True)
    lead = f"Selected experts found on a GPU: {format_share(run.metrics.expert_hit_rate)} over all layers."
    return Section(title="Hit rates by layer", lead=lead, body=body)


def provenance_section(provenance: RunProvenance) -> Section:
    """Return the section of every number of the machine that prices the run, with its source."""
    rows = [
        (
            number.path,
            format_quantity(number.path.partition(" ")[0], number.value),
            number.provenance.kind.value,
            number.provenance.source,
            number.provenance.date,
        )
        for number in provenance.numbers
    ]
    for name, each in (("routing", provenance.routing), ("model", provenance.model)):
        rows.append((name, "", each.kind.value, each.source, each.date))
    columns = ("number", "value", "kind", "source", "date")
    lead = f"The result is no better than its weakest number, which is {provenance.weakest.kind.value}."
    return Section(
        title="What it rests on", lead=lead, body=table("Numbers and sources", columns, rows)
    )


def _entries(items: Sequence[MemoryItem]) -> Iterator[tuple[str, str]]:
    for place, item in enumerate(items):
        yield color(place), f"{item.item}, {format_bytes(item.bytes)}"


def _key_of(kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each colour once, with all kinds that have it."""
    names: dict[str, list[str]] = {}
    for kind in kinds:
        names.setdefault(KIND_COLORS.get(kind, "c7"), []).append(_kind(kind))
    for key, words in names.items():
        yield key, ", ".join(dict.fromkeys(words))


def _kind(kind: str) -> str:
    return KIND_NAMES.get(kind, kind.replace("_", " "))
