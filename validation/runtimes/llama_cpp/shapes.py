"""Small shapes for measuring: those of real models with fewer layers and experts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwprofiles import InputError
from hwprofiles.units import MB
from sim.model.model import Model
from sim.runtimes.tensors import is_compressed
from validation.runtimes.llama_cpp.random_file import MoeShape, WeightFormats, file_bytes

MOST_FILE_BYTES = 400 * MB
"""Largest size of a file, in bytes.

A file of two layers is written even if it is larger.
"""

MOST_VOCAB = 4096
"""Most rows of the head that are kept; the law of rows prices the others."""

WIDEST_FORMAT = "bf16"
EXPERTS_PER_CHOSEN = 2
"""Experts that are kept for each one that a token selects, so that tokens can differ in experts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A shape in one set of formats: one file to measure."""

    shape: MoeShape
    formats: WeightFormats

    @property
    def name(self) -> str:
        """Name made of the shape, the experts that a token selects, and the formats."""
        return f"{self.shape.name}-top{self.shape.top_k}-{self.formats.name}"


def cases_of(shapes: Sequence[MoeShape], formats: Sequence[str]) -> tuple[Case, ...]:
    """Every shape in every format."""
    return tuple(
        Case(shape=shape, formats=WeightFormats(experts=name))
        for name in formats
        for shape in shapes
    )


def with_other_top_k(case: Case) -> Case:
    """Return the case with half the experts a token, or with two if it has one.

    Both cases together distinguish the time of experts from the rest.
    """
    own = case.shape.top_k
    other = own // 2 if own > 1 else min(2, case.shape.num_experts)
    return replace(case, shape=replace(case.shape, top_k=other))


def small_shape(model: Model, most_bytes: float = MOST_FILE_BYTES) -> MoeShape:
    """Return the shape of a model's layers, with so few layers and experts that a file stays small.

    Raises InputError for a model without routed experts, or whose attention is not grouped-query.
    """
    layer = next((layer for layer in model.layers if layer.is_moe), None)
    if layer is None:
        raise InputError(f"{model.name}: it has no routed experts, and their kernels are measured")
    attention = layer.attention
    if attention is None or is_compressed(attention):
        raise InputError(
            f"{model.name}: its attention is not grouped-query, and no small file of that kind is written"
        )
    head_dim = attention.score_elements // attention.num_heads
    whole = MoeShape(
        name=model.name,
        num_layers=model.num_layers,
        hidden=model.hidden,
        num_experts=min(layer.num_experts, EXPERTS_PER_CHOSEN * layer.top_k),
        top_k=layer.top_k,
        expert_intermediate=model.expert_intermediate,
        num_heads=attention.num_heads,
        num_kv_heads=attention.kv_elements_per_token // (2 * head_dim),
        head_dim=head_dim,
        vocab=min(model.vocab, MOST_VOCAB),
    )
    return _fewer_layers(whole, most_bytes)


def _fewer_layers(shape: MoeShape, most_bytes: float) -> MoeShape:
    formats = WeightFormats(experts=WIDEST_FORMAT)
    one = replace(shape, num_layers=1)
    base = file_bytes(one, formats)
    each = file_bytes(replace(shape, num_layers=2), formats) - base
    count = 1 + int(max(0.0, most_bytes - base) // each)
    # Two at least: a law of layers needs files that differ in depth.
    return replace(shape, num_layers=min(shape.num_layers, max(2, count)))
