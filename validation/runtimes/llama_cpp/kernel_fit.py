"""Fit laws of kernels to the times of small files.

Every term is at least 0 (non-negative least squares), and every point counts by its relative error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from sim.model.model import Model, TensorClass
from sim.runtimes.kernel_work import KernelWork, kernel_work
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP, LlamaArguments
from sim.runtimes.llama_cpp.placement import place
from sim.runtimes.placement import HOST
from validation.runtimes.llama_cpp.kernel_points import KernelPoint

Terms = Mapping[tuple[str, str], float]
"""Amounts of work by format (empty for work without a format) and kind."""

ERROR_PERCENTILE = 80
"""Percentile of errors on left-out shapes, the share that intervals of runtimes cover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLaws:
    """Seconds by format and kind of work, for decoding and for prompts.

    Errors are those on shapes that were left out of the fit.
    """

    decode: Mapping[tuple[str, str], float]
    prompt: Mapping[tuple[str, str], float]
    decode_errors: tuple[float, ...]
    prompt_errors: tuple[float, ...]
    nodes_per_layer: float


def fit_laws(points: Sequence[KernelPoint]) -> FittedLaws:
    """Fit laws of both phases.

    Errors are those of each shape by laws of the other shapes. With one shape there are none.
    """
    nodes = nodes_per_layer(points)

    def decode_terms(point: KernelPoint) -> Terms:
        """Return the amounts of each kind of work of a decoded token."""
        return decode_amounts(point.model, nodes)

    def prompt_terms(point: KernelPoint) -> Terms:
        """Return the amounts of each kind of work of a prompt."""
        return prompt_amounts(point.model, point.prompt_tokens)

    decoded = [point.decode.token_s for point in points]
    prompted = [point.prefill.token_s * point.prompt_tokens for point in points]
    return FittedLaws(
        decode=_fit(points, decode_terms, decoded),
        prompt=_fit(points, prompt_terms, prompted),
        decode_errors=_left_out(points, decode_terms, decoded),
        prompt_errors=_left_out(points, prompt_terms, prompted),
        nodes_per_layer=nodes,
    )


def nodes_per_layer(points: Sequence[KernelPoint]) -> float:
    """Return the nodes that a layer adds to the graph, by the logs of files of different depths.

    Return 1 if the logs do not tell; the law is then for a whole layer.
    """
    known = [(point.model.num_layers, point.num_nodes) for point in points if point.num_nodes]
    depths = np.array([depth for depth, _ in known], float)
    if len(set(depths)) < 2:
        return 1.0
    return float(np.polyfit(depths, [count for _, count in known], 1)[0])


def decode_amounts(model: Model, nodes: float) -> Terms:
    """Return bytes, rows and matrices by format, and nodes, of one decoded token."""
    work = _host_work(model)
    found: dict[tuple[str, str], float] = {}
    for name, products in work.products.items():
        found[name, "bytes"] = sum(item.num_bytes for item in products)
        found[name, "rows"] = sum(item.rows for item in products)
        found[name, "matrices"] = sum(item.matrices for item in products)
    found["", "nodes"] = work.layers * nodes
    return found


def prompt_amounts(model: Model, tokens: int) -> Terms:
    """Return multiplications by format, for routed experts and the rest, and layers times
    tokens.
    """
    work = _host_work(model)
    found: dict[tuple[str, str], float] = {}
    for name, products in work.products.items():
        for item in products:
            kind = "experts" if item.tensor_class is TensorClass.EXPERT else "dense"
            count = item.weights * (1 if item.is_of_last_token else tokens)
            found[name, kind] = found.get((name, kind), 0.0) + count
    found["", "layer_tokens"] = work.layers * tokens
    return found


def seconds_of(terms: Terms, laws: Mapping[tuple[str, str], float]) -> float:
    """Seconds of amounts of work. A format without a law raises KeyError."""
    return sum(amount * laws[key] for key, amount in terms.items())


def _host_work(model: Model) -> KernelWork:
    arguments = LlamaArguments(runtime=LLAMA_CPP, gpu_layers=0)
    return kernel_work(model, place(model, arguments, ()), HOST)


def _fit(
    points: Sequence[KernelPoint],
    terms_of: Callable[[KernelPoint], Terms],
    seconds: Sequence[float],
) -> dict[tuple[str, str], float]:
    """Return the seconds of each unit of work, by format and kind."""
    rows = [terms_of(point) for point in points]
    names = sorted({key for row in rows for key in row})
    amounts = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    # Amounts differ by many powers of ten, which least squares would drown in rounding.
    scales = amounts.max(axis=0)
    # By its own time, each point counts by its relative error.
    weighed = amounts / scales / np.array(seconds)[:, None]
    solution, _ = nnls(weighed, np.ones(len(rows)))
    return dict(zip(names, (solution / scales).tolist(), strict=True))


def _left_out(
    points: Sequence[KernelPoint],
    terms_of: Callable[[KernelPoint], Terms],
    seconds: Sequence[float],
) -> tuple[float, ...]:
    """Return errors of each shape's points by laws that were fitted to the other shapes."""
    errors = []
    shapes = sorted({point.shape_name for point in points})
    if len(shapes) < 2:
        return ()
    for shape in shapes:
        # The error that matters is the one on a shape that was never measured.
        kept = [index for index, point in enumerate(points) if point.shape_name != shape]
        laws = _fit([points[index] for index in kept], terms_of, [seconds[i] for i in kept])
        for index, point in enumerate(points):
            if point.shape_name == shape:
                errors.append(seconds_of(terms_of(point), laws) / seconds[index] - 1)
    return tuple(errors)


def error_fraction(errors: Sequence[float]) -> float:
    """Return the size that 80 % of the errors stay within; 0 without errors."""
    return float(np.percentile(np.abs(errors), ERROR_PERCENTILE)) if errors else 0.0
