"""Models as tables: all in a list, or one with its weights by tensor class."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from hwprofiles.units import BILLION, MILLION, format_bytes
from rosin.report.model_summary import ModelSummary
from rosin.report.tables import number_column, plain_table, text_column


def model_list(rows: Sequence[ModelSummary]) -> Iterator[RenderableType]:
    """The list, one line a model."""
    numbers = [number_column(name) for name in ("layers", "experts", "top-k", "weights", "active", "size", "expert")]
    table = plain_table(text_column("model"), *numbers, text_column("stored"))
    for row in rows:
        shape = str(row.num_layers), str(row.num_experts), str(row.top_k), format_params(row.total_params), format_params(row.active_params)
        table.add_row(row.name, *shape, format_bytes(row.total_bytes), format_bytes(row.expert_bytes), row.quantization)
    yield table
    yield Text("Experts per layer; active weights per token; expert: the size of one.")


def model_details(model: ModelSummary) -> Iterator[RenderableType]:
    """The model in words, its figures, and its weights by tensor class."""
    yield Text(
        f"{model.name}: {model.family}, {format_params(model.total_params)} weights, {format_params(model.active_params)} active a token"
    )
    figures = plain_table(text_column("figure"), number_column("value"))
    for name, value in _figures(model):
        figures.add_row(name, value)
    yield figures
    tensors = plain_table(text_column("tensors"), number_column("weights"), number_column("size"), text_column("stored"))
    for tensor_class, part in model.tensors.items():
        tensors.add_row(tensor_class, format_params(part.params), format_bytes(part.bytes), part.dtype)
    tensors.add_section()
    tensors.add_row("all", format_params(model.total_params), format_bytes(model.total_bytes), model.quantization)
    yield tensors
    yield Text(f"Source ({model.provenance.kind}, {model.provenance.date}): {model.provenance.source}")


def format_params(count: int) -> str:
    """A count of weights for a person: ``46.7 B``, ``350 M``."""
    return f"{count / BILLION:.4g} B" if count >= BILLION else f"{count / MILLION:.4g} M"


def _figures(model: ModelSummary) -> Iterator[tuple[str, str]]:
    yield "layers", str(model.num_layers)
    yield "of which route to experts", str(model.num_moe_layers)
    yield "experts per layer", str(model.num_experts)
    yield "experts selected per token", str(model.top_k)
    yield "one expert", format_bytes(model.expert_bytes)
    yield "all but routed experts", format_bytes(model.non_expert_bytes)
    yield "KV cache per token", format_bytes(model.kv_bytes_per_token)
    yield "hidden size", f"{model.hidden:,}"
    yield "expert intermediate size", f"{model.expert_intermediate:,}"
    yield "vocabulary", f"{model.vocab:,}"
    yield "longest context", f"{model.max_context_tokens:,} tokens"
