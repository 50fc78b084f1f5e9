"""Probes of a model's operations: the functions that the backend executes, on tensors of the model's dimensions."""

# TensorLegend: T tokens of a pass, S sequences, L tokens of each, C context, D hidden, V vocabulary, K key-value heads, H head dimension.

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from math import prod

import torch
from torch import Tensor

from hwprofiles import Operation
from sim.curve_shapes import Shape, attention_shape, expert_shape, ffn_shape, gate_shape, head_shape, norm_shape
from sim.model import Attention, Model, TensorClass, layer_shapes
from validation.backend.architecture import Architecture, LayerShape, Shapes
from validation.backend.functions import attention, feed_forward, gate, head, normalized, rotation
from validation.measuring.bench import Work
from validation.measuring.cold_memory import ColdMemory
from validation.measuring.grid import Grid
from validation.measuring.probe import CurveKey, Probe

EPSILON, ROPE_THETA = 1e-6, 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """Where and in what format: the bench's name, its memory, the name of the format."""

    bench: str
    cold: ColdMemory
    dtype: str

    def key(self, operation: Operation, shape: Shape) -> CurveKey:
        """The curve of an operation here."""
        return CurveKey(operation=operation, device=self.bench, dtype=self.dtype, shape=tuple(shape.items()))

    def draw(self, *sizes: int) -> Tensor:
        """Activations."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(sizes, generator=generator).to(self.cold.device, self.cold.dtype)


def model_probes(model: Model, place: Place, grid: Grid) -> Iterator[Probe]:
    """Everything of the model that the backend computes; attention that it has not (multi-head latent) is left out."""
    yield from ffn_probes(place, Operation.EXPERT, expert_shape(model), grid.expert_tokens)
    yield from _norm_probes(model, place, grid)
    yield from _head_probes(model, place, grid)
    for layer in layer_shapes(model)[0]:
        spec = model.layers[layer]
        for which in (TensorClass.SHARED_EXPERT, TensorClass.DENSE_FFN):
            shape = ffn_shape(model, layer, which)
            if shape is not None:
                yield from ffn_probes(place, Operation.DENSE, shape, grid.tokens)
        if spec.is_moe:
            yield from _gate_probes(place, gate_shape(model, layer), grid)
        if attention_is_built(spec.attention):
            yield from _attention_probes(model, layer, place, grid)


def attention_is_built(geometry: Attention) -> bool:
    """Whether the backend has such attention: grouped-query, not multi-head latent."""
    return geometry.score_elements == geometry.value_elements


def ffn_probes(place: Place, operation: Operation, shape: Shape, tokens: tuple[int, ...]) -> Iterator[Probe]:
    """A gated feed-forward by tokens: the backend's own function for experts, shared experts and dense layers."""
    hidden, wide = shape["hidden"], shape["intermediate"]
    tensors: Shapes = {"expert_gate": (wide, hidden), "expert_up": (wide, hidden), "expert_down": (hidden, wide)}
    params = 3 * hidden * wide

    def make(x_TD: Tensor) -> Work:
        block = place.cold.block(tensors)
        return lambda: feed_forward(x_TD, block.tensors, "expert")

    yield from _over_tokens(place, operation, shape, tokens, params, make)


def _head_probes(model: Model, place: Place, grid: Grid) -> Iterator[Probe]:
    shapes: Shapes = {"norm": (model.hidden,), "head": (model.vocab, model.hidden)}

    def make(x_SD: Tensor) -> Work:
        block = place.cold.block(shapes)
        return lambda: head(x_SD, block.tensors, EPSILON)

    yield from _over_tokens(place, Operation.DENSE, head_shape(model), grid.sequences, model.hidden * model.vocab, make)


def _norm_probes(model: Model, place: Place, grid: Grid) -> Iterator[Probe]:
    def make(x_TD: Tensor) -> Work:
        weight_D = place.cold.take(model.hidden)
        return lambda: normalized(x_TD, weight_D, EPSILON)

    yield from _over_tokens(place, Operation.NORM, norm_shape(model), grid.tokens, 0, make)


def _gate_probes(place: Place, shape: Shape, grid: Grid) -> Iterator[Probe]:
    def make(x_TD: Tensor) -> Work:
        router_ED = place.cold.take(shape["experts"] * shape["hidden"]).view(shape["experts"], shape["hidden"])
        return lambda: gate(x_TD, router_ED, shape["top_k"], normalizes=True)

    yield from _over_tokens(place, Operation.GATE, shape, grid.tokens, shape["experts"] * shape["hidden"], make)


def _over_tokens(
    place: Place, operation: Operation, shape: Shape, tokens: tuple[int, ...], params: int, make: Callable[[Tensor], Work]
) -> Iterator[Probe]:
    @cache
    def drawn(count: int) -> Tensor:
        return place.draw(count, shape["hidden"])

    def made(count: int) -> Work:
        return make(drawn(count))

    for count in tokens:
        yield Probe(
            key=place.key(operation, shape),
            x=count,
            bench=place.bench,
            make=partial(made, count),
            weight_bytes=params * place.cold.dtype.itemsize,
            flops=2.0 * params * count,
        )


def _attention_probes(model: Model, layer: int, place: Place, grid: Grid) -> Iterator[Probe]:
    spec = model.layers[layer]
    params = spec.params[TensorClass.ATTENTION]
    probe = _AttentionProbe(model=model, geometry=spec.attention, params=params, place=place)
    for sequences in grid.attention_sequences:
        shape = attention_shape(model.hidden, spec.attention, params) | {"sequences": sequences}
        for operation, sizes in ((Operation.ATTENTION_DECODE, grid.contexts), (Operation.ATTENTION_PREFILL, grid.prompts)):
            for x in sizes:
                if x > model.max_context_tokens or probe.num_elements(sequences, x) > place.cold.num_bytes // place.cold.dtype.itemsize:
                    continue
                yield Probe(
                    key=place.key(operation, shape),
                    x=x,
                    bench=place.bench,
                    make=probe.maker(operation, sequences, x),
                    weight_bytes=params * place.cold.dtype.itemsize,
                    flops=2.0 * params * sequences * (1 if operation is Operation.ATTENTION_DECODE else x),
                )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _AttentionProbe:
    """Attention of one geometry, the norm behind it included: what the backend does before a gate."""

    model: Model
    geometry: Attention
    params: int
    place: Place

    @property
    def shape(self) -> LayerShape:
        """The layer as the backend sees it, without what follows attention."""
        geometry = self.geometry
        head_dim = geometry.value_elements // geometry.num_heads
        return LayerShape(
            num_heads=geometry.num_heads,
            num_kv_heads=geometry.kv_elements_per_token // (2 * head_dim),
            head_dim=head_dim,
            window_tokens=geometry.window_tokens,
            num_experts=0,
            top_k=0,
            shared_intermediate=0,
            dense_intermediate=0,
            expert_intermediate=0,
        )

    def cache_sizes(self, sequences: int, context: int) -> tuple[int, int, int, int, int]:
        """Of keys and values."""
        return 2, sequences, self.shape.num_kv_heads, context, self.shape.head_dim

    def num_elements(self, sequences: int, context: int) -> int:
        """The largest block that a run takes."""
        return max(2 * self.params, prod(self.cache_sizes(sequences, context)))

    def maker(self, operation: Operation, sequences: int, x: int) -> Callable[[], Work]:
        """Makes runs: one new token a sequence behind x - 1 others, or x tokens from the start."""
        first = x - 1 if operation is Operation.ATTENTION_DECODE else 0
        place, shape, hidden = self.place, self.shape, self.model.hidden
        dense = Architecture(name="", hidden=hidden, vocab=1, layers=(shape,)).dense_shapes(0)

        @cache
        def inputs() -> tuple[Tensor, Tensor]:
            turn_2CH = rotation(x, shape.head_dim, ROPE_THETA, place.cold.dtype).to(place.cold.device)
            return place.draw(sequences * (x - first), hidden), turn_2CH

        def make() -> Work:
            x_TD, turn_2CH = inputs()
            tensors = place.cold.block(dense).tensors
            sizes = self.cache_sizes(sequences, x)
            cache_2SKCH = place.cold.take(prod(sizes)).view(sizes)

            def work() -> Tensor:
                y_TD = attention(x_TD, tensors, shape, EPSILON, turn_2CH, cache_2SKCH, first, x)
                return normalized(y_TD, tensors["post_norm"], EPSILON)

            return work

        return make
