"""Models as tables: all in a list, or one with its weights by tensor class."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from hwprofiles.units import BILLION, MILLION, TERA, format_bytes
from rosin.commands.models.document import ImportNotes, ModelSummary
from rosin.report.tables import name_column, number_column, plain_table, text_column

DENSE = "dense"
ROUNDS_UP = 0.9995
"""The least share of a unit that three digits would print as 1000 of the smaller unit."""


def model_list(rows: Sequence[ModelSummary]) -> Iterator[RenderableType]:
    """Yield the list, with one line for each model."""
    # What fits 80 columns beside the longest names: a model's own page has the rest.
    numbers = [number_column(name) for name in ("experts", "weights", "active", "size")]
    table = plain_table(name_column("model"), *numbers, text_column("stored"))
    for row in rows:
        table.add_row(
            row.name,
            f"{row.top_k} of {row.num_experts}" if row.num_experts else DENSE,
            format_params(row.total_params),
            format_params(row.active_params),
            format_bytes(row.total_bytes),
            row.quantization,
        )
    yield table
    yield Text(
        "\nExperts per token and layer, and of how many; weights active per token; size as stored."
    )


def model_details(model: ModelSummary) -> Iterator[RenderableType]:
    """The model in words, its figures, and its weights by tensor class."""
    weights = f"{format_params(model.total_params)} weights, {format_params(model.active_params)} active per token"
    yield Text(f"{model.name}: {model.family}, {weights}\n")
    figures = plain_table(text_column("figure"), number_column("value"))
    for name, value in _figures(model):
        figures.add_row(name, value)
    yield figures
    yield Text()
    tensors = plain_table(
        text_column("tensors"),
        number_column("weights"),
        number_column("size"),
        text_column("stored"),
    )
    for tensor_class, part in model.tensors.items():
        tensors.add_row(
            tensor_class, format_params(part.params), format_bytes(part.bytes), part.dtype
        )
    tensors.add_row(
        "all",
        format_params(model.total_params),
        format_bytes(model.total_bytes),
        model.quantization,
    )
    yield tensors
    if model.left_out:
        yield Text(f"\nLeft out: {'; '.join(model.left_out)}")
    yield Text(
        f"\nSource ({model.provenance.kind}, {model.provenance.date}): {model.provenance.source}"
    )


def import_details(model: ModelSummary, notes: ImportNotes) -> Iterator[RenderableType]:
    """Yield the page of an imported model, and what its file holds besides."""
    yield from model_details(model)
    lines = [
        f"Left out: {part.what}, {format_params(part.params)} weights, {format_bytes(part.bytes)}."
        for part in notes.ignored
    ]
    if notes.missing_bytes:
        lines.append(
            f"The file is {format_bytes(notes.missing_bytes)} short of its tensor data: only its header was read."
        )
    if lines:
        yield Text("\n" + "\n".join(lines))


def format_params(count: int) -> str:
    """A count of weights for a person, three digits: ``46.7 B``, ``350 M``, ``1.03 T``."""
    for size, unit in ((TERA, "T"), (BILLION, "B")):
        if count >= ROUNDS_UP * size:
            return f"{_three_digits(count / size)} {unit}"
    return f"{_three_digits(count / MILLION)} M"


def _three_digits(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")


def _figures(model: ModelSummary) -> Iterator[tuple[str, str]]:
    yield "layers", str(model.num_layers)
    yield "layers with experts", str(model.num_moe_layers)
    # A single kind of layer says no more than the number of layers does.
    if len(model.kinds) > 1:
        for kind, count in model.kinds.items():
            yield f"layers of {kind}", str(count)
    if model.num_experts:
        yield "experts per layer", str(model.num_experts)
        yield "experts selected per token", str(model.top_k)
        yield "one expert", format_bytes(model.expert_bytes)
        yield "expert intermediate size", f"{model.expert_intermediate:,}"
    yield "all but routed experts", format_bytes(model.non_expert_bytes)
    yield "KV cache per token", format_bytes(model.kv_bytes_per_token)
    if model.state_bytes:
        yield "state per sequence", format_bytes(model.state_bytes)
    yield "hidden size", f"{model.hidden:,}"
    yield "vocabulary", f"{model.vocab:,}"
    yield "longest context", f"{model.max_context_tokens:,} tokens"
