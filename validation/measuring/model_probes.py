"""Probes of a model's operations: the backend's own functions, on tensors of the model's
dimensions.
"""

# TensorLegend: T tokens of a pass, S sequences, L tokens of each, C context, D hidden, V
# vocabulary, K key-value heads, H head dimension.

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from hwprofiles import Operation
from sim.costs.curve_shapes import (
    Shape,
    expert_shape,
    ffn_shape,
    gate_shape,
    head_shape,
    norm_shape,
)
from sim.memo import remembered
from sim.model.model import Model, TensorClass, layer_shapes
from validation.backend.architecture import Architecture, Shapes
from validation.backend.functions import feed_forward, gate, head, normalized, routed_expert
from validation.measuring.attention_probes import attention_probes
from validation.measuring.bench import Work
from validation.measuring.built import built, has_attention
from validation.measuring.grid import Grid
from validation.measuring.place import Place
from validation.measuring.probe import Probe

EPSILON = 1e-6


def model_probes(model: Model, place: Place, grid: Grid) -> Iterator[Probe]:
    """Yield probes of every operation that the backend computes; attention that it lacks is left
    out.
    """
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
            yield from _gate_probes(place, gate_shape(model, layer), built(model), grid)
        if has_attention(model, layer):
            yield from attention_probes(model, layer, place, grid)


def ffn_probes(
    place: Place, operation: Operation, shape: Shape, tokens: tuple[int, ...]
) -> Iterator[Probe]:
    """Yield probes of a gated feed-forward by tokens.

    The feed-forward is that of shared experts, of a dense layer, or of a routed expert, which
    gathers its tokens and weighs its results.
    """
    hidden = shape["hidden"]
    wide = shape["intermediate"]
    tensors: Shapes = {
        "expert_gate": (wide, hidden),
        "expert_up": (wide, hidden),
        "expert_down": (hidden, wide),
    }
    params = 3 * hidden * wide

    def make(x_TD: Tensor) -> Work:
        """Make a run of one expert or feed-forward over those tokens."""
        block = place.cold.block(tensors)
        if operation is not Operation.EXPERT:
            return lambda: feed_forward(x_TD, block.tensors, "expert")
        # A routed expert gathers its rows and weighs its result, as in a run.
        rows_M = torch.arange(len(x_TD), device=x_TD.device)
        shares_M1 = x_TD[:, :1]
        return lambda: routed_expert(x_TD[rows_M], shares_M1, block.tensors)

    yield from _over_tokens(place, operation, shape, tokens, params, make)


def _head_probes(model: Model, place: Place, grid: Grid) -> Iterator[Probe]:
    shapes: Shapes = {"norm": (model.hidden,), "head": (model.vocab, model.hidden)}

    def make(x_SD: Tensor) -> Work:
        """Make a run over weights that no cache holds."""
        block = place.cold.block(shapes)
        return lambda: head(x_SD, block.tensors, EPSILON)

    yield from _over_tokens(
        place, Operation.DENSE, head_shape(model), grid.sequences, model.hidden * model.vocab, make
    )


def _norm_probes(model: Model, place: Place, grid: Grid) -> Iterator[Probe]:
    def make(x_TD: Tensor) -> Work:
        """Make a run over weights that no cache holds."""
        weight_D = place.cold.take(model.hidden)
        return lambda: normalized(x_TD, weight_D, EPSILON)

    # A norm has too few weights to be judged by the rate at which it reads them.
    yield from _over_tokens(place, Operation.NORM, norm_shape(model), grid.tokens, 0, make)


def _gate_probes(
    place: Place, shape: Shape, architecture: Architecture, grid: Grid
) -> Iterator[Probe]:
    experts = shape["experts"]
    normalizes = architecture.normalizes_top_k
    scoring = architecture.scoring

    def make(x_TD: Tensor) -> Work:
        """Make a run over weights that no cache holds."""
        router_ED = place.cold.take(experts * shape["hidden"]).view(experts, shape["hidden"])
        bias_E = place.cold.take(experts) if scoring.is_sigmoid else None
        return lambda: gate(
            x_TD, router_ED, shape["top_k"], normalizes=normalizes, scoring=scoring, bias_E=bias_E
        )

    yield from _over_tokens(
        place, Operation.GATE, shape, grid.tokens, experts * shape["hidden"], make
    )


def _over_tokens(
    place: Place,
    operation: Operation,
    shape: Shape,
    tokens: tuple[int, ...],
    params: int,
    make: Callable[[Tensor], Work],
) -> Iterator[Probe]:
    @remembered(len(tokens))
    def drawn(count: int) -> Tensor:
        """The hidden state of that many tokens, the same for all samples."""
        return place.draw(count, shape["hidden"])

    def made(count: int) -> Work:
        """Make a run over that many tokens."""
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
