"""Curves of a model's layers outside its routed experts, from measured products and attention.

A table has a product alone or an attention kernel alone. The simulator prices all that stands
between two experts as one operation, so the parts are added up. Kernels that no table has (norms,
rotation, activation) cost what the law charges for a kernel.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwprofiles import Curve, Kind, Machine, Operation
from sim.costs.cost_model import output_params
from sim.costs.curve_shapes import attention_shape, ffn_shape, head_shape
from sim.costs.roofline import FUSED_KERNELS
from sim.model.model import Model, TensorClass, layer_shapes
from validation.kernel_tables.attention import HeadShape, MeasuredAttention, measured_attention
from validation.kernel_tables.import_curves import thinned
from validation.kernel_tables.parquet import LICENCE, version_of
from validation.kernel_tables.products import (
    MeasuredProducts,
    ProductErrors,
    Values,
    measured_products,
)

_TOKENS = np.array([2.0**power for power in range(14)])
_PRODUCTS_OF_ATTENTION = 2
_KERNELS_OF_CORE = 2
"""Kernels of FUSED_KERNELS that one row of an attention table covers: attention and its
reduction.
"""
_PRODUCTS_OF_FFN = 2
_FFN_CLASSES = {TensorClass.DENSE_FFN: "dense_ffn", TensorClass.SHARED_EXPERT: "shared_expert"}
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelTables:
    """Kernels measured on one card: products by format, attention kernels, and their source."""

    machine: Machine
    products: Mapping[str, MeasuredProducts]
    attention: MeasuredAttention
    source: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCurves:
    """Curves of a model, and its operations that have none, each with the reason."""

    curves: tuple[Curve, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLayers:
    """A machine with curves of models' layers.

    ``errors`` tell how near products of unmeasured shapes are; ``left_out`` lists operations of the
    models that have no curve.
    """

    machine: Machine
    num_curves: int
    errors: tuple[ProductErrors, ...]
    left_out: tuple[str, ...]
    source: str


def model_curves(tables: KernelTables, model: Model) -> ModelCurves:
    """Curves of the model's attention, dense blocks, shared experts and head; each shape once."""
    curves: list[Curve] = []
    left_out: list[str] = []
    for layer in layer_shapes(model)[0]:
        for operation, made in (
            ("attention", _attention(tables, model, layer)),
            ("feed-forward", _feed_forward(tables, model, layer)),
        ):
            if isinstance(made, str):
                left_out.append(f"{operation} of layer {layer}: {made}")
            else:
                curves += [curve for curve in made if not _has(curves, curve)]
    head = _head(tables, model)
    if isinstance(head, str):
        left_out.append(f"head: {head}")
    else:
        curves.append(head)
    return ModelCurves(curves=tuple(curves), left_out=tuple(left_out))


def _has(curves: Sequence[Curve], other: Curve) -> bool:
    return any(
        (curve.operation, curve.dtype, curve.shape) == (other.operation, other.dtype, other.shape)
        for curve in curves
    )


def _attention(tables: KernelTables, model: Model, layer: int) -> list[Curve] | str:
    """Return curves of norm, projections and attention, or the reason why there are none.

    Decode curves are by a token's context, prefill curves by the prompt's tokens.
    """
    spec = model.layers[layer]
    dtype = model.dtype(TensorClass.ATTENTION)
    if spec.attention is None or spec.state is not None:
        return [] if not spec.has_mixer else "no table has its state"
    attention = spec.attention
    if not attention.is_plain or attention.window_tokens or attention.expanded_elements:
        return "its keys are windowed, compressed or chosen"
    if dtype not in tables.products:
        return f"no products in {dtype}"
    dim = attention.score_elements // attention.num_heads
    heads = HeadShape(
        num_heads=attention.num_heads,
        num_kv_heads=attention.kv_elements_per_token // (2 * dim),
        head_dim=dim,
    )
    if not any(shape == heads for shape, _ in tables.attention.decode):
        return f"no attention of {heads.num_heads} heads, {heads.num_kv_heads} of keys, of {dim}"
    params = spec.params[TensorClass.ATTENTION]
    output = output_params(model, layer)
    own = attention_shape(model.hidden, attention, params)
    products = tables.products[dtype]

    def around(tokens: Values) -> Values:
        """Return ns of all kernels but the one over the keys."""
        inputs = products.ns(tokens, model.hidden, (params - output) // model.hidden)
        outputs = products.ns(tokens, output // model.hidden, model.hidden)
        return inputs + outputs + _other_kernels(tables, "attention", _PRODUCTS_OF_ATTENTION)

    curves = []
    for operation, times in (
        (Operation.ATTENTION_DECODE, tables.attention.decode),
        (Operation.ATTENTION_PREFILL, tables.attention.prefill),
    ):
        for (shape, sequences), (tokens, core_ns) in sorted(
            times.items(), key=lambda item: item[0]
        ):
            if shape != heads:
                continue
            is_decode = operation is Operation.ATTENTION_DECODE
            fed = np.full_like(tokens, sequences) if is_decode else tokens * sequences
            curves.append(
                _curve(
                    tables,
                    operation,
                    dtype,
                    own | {"sequences": sequences},
                    zip(tokens, around(fed) + core_ns, strict=True),
                )
            )
    return curves


def _feed_forward(tables: KernelTables, model: Model, layer: int) -> list[Curve] | str:
    """Return curves of the dense block and the shared experts, or the reason why there are none.

    Each includes its norm or activation.
    """
    curves = []
    for which, kernels in _FFN_CLASSES.items():
        shape = ffn_shape(model, layer, which)
        if shape is None:
            continue
        dtype = model.dtype(which)
        if dtype not in tables.products:
            return f"no products in {dtype}"
        products = tables.products[dtype]
        hidden = shape["hidden"]
        width = shape["intermediate"]
        ns = products.ns(_TOKENS, hidden, 2 * width) + products.ns(_TOKENS, width, hidden)
        ns = ns + _other_kernels(tables, kernels, _PRODUCTS_OF_FFN)
        curves.append(_curve(tables, Operation.DENSE, dtype, shape, zip(_TOKENS, ns, strict=True)))
    return curves


def _head(tables: KernelTables, model: Model) -> Curve | str:
    dtype = model.dtype(model.head_class)
    if dtype not in tables.products:
        return f"no products in {dtype}"
    ns = tables.products[dtype].ns(_TOKENS, model.hidden, model.vocab)
    points = zip(_TOKENS, ns + _other_kernels(tables, "head", 1), strict=True)
    return _curve(tables, Operation.DENSE, dtype, head_shape(model), points)


def _other_kernels(tables: KernelTables, operation: str, num_products: int) -> float:
    """ns of an operation's kernels that no table has."""
    in_tables = num_products + (_KERNELS_OF_CORE if operation == "attention" else 0)
    return (FUSED_KERNELS[operation] - in_tables) * tables.machine.gpu.kernel_ns.effective


def _curve(
    tables: KernelTables,
    operation: Operation,
    dtype: str,
    shape: dict[str, int],
    points: Iterator[tuple[float, float]],
) -> Curve:
    rounded = [(float(size), float(f"{ns:.{_DIGITS}g}")) for size, ns in points]
    return Curve(
        operation=operation,
        device="gpu",
        dtype=dtype,
        shape=shape,
        points=thinned(rounded),
        kind=Kind.PUBLISHED,
        source=tables.source,
        date=tables.date,
    )


def kernel_tables(path: Path, system: str, machine: Machine) -> KernelTables:
    """Return the products and attention kernels of a system, for a machine with that card.

    Raises InputError for a path without such tables, an unknown system, a table without the
    columns, or a missing pyarrow.
    """
    products = measured_products(path, system, machine)
    attention = measured_attention(path, system)
    used = {name for own in products.values() for name in own.frameworks}
    frameworks = ", ".join(sorted(used | set(attention.frameworks)))
    return KernelTables(
        machine=machine,
        products=products,
        attention=attention,
        source=f"NVIDIA aiconfigurator-core{version_of(path)} ({LICENCE}), {system}, products and "
        f"attention added up, the fastest of {frameworks}",
        date="2026",
    )


def import_layers(
    path: Path, system: str, machine: Machine, models: Sequence[Model]
) -> ImportedLayers:
    """Return the machine with curves of those models' layers, in place of former ones of their
    shapes.

    Raises InputError as ``kernel_tables`` does.
    """
    tables = kernel_tables(path, system, machine)
    made: list[Curve] = []
    left_out: list[str] = []
    for model in models:
        found = model_curves(tables, model)
        made += [curve for curve in found.curves if not _has(made, curve)]
        left_out += [f"{model.name}, {reason}" for reason in found.left_out]
    kept = tuple(curve for curve in machine.curves if not _has(made, curve))
    used = {curve.dtype for curve in made}
    return ImportedLayers(
        machine=machine.model_copy(update={"curves": (*kept, *made)}),
        num_curves=len(made),
        errors=tuple(own.errors() for dtype, own in tables.products.items() if dtype in used),
        left_out=tuple(left_out),
        source=tables.source,
    )
