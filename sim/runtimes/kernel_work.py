"""The work that one step gives to the kernels of one device, by the format of the weights."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sim.model.model import Layer, Model, TensorClass
from sim.runtimes.placement import DevicePlacement

READ_ALONG = frozenset({TensorClass.ROUTER, TensorClass.NORM})
"""Classes of small tensors, which are in a wide format whatever the others are in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """Products of one token with the matrices of one tensor class.

    ``rows`` counts rows of results, ``weights`` multiplications. With ``is_of_last_token``, the
    products run for the last token of a prompt alone.
    """

    tensor_class: TensorClass
    num_bytes: float
    rows: float
    matrices: float
    weights: float
    is_of_last_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWork:
    """The work of one device for one token.

    ``products`` are by format, ``layers`` counts the layers whose other nodes the device runs.
    ``read_along_bytes`` are those of small tensors.
    """

    products: Mapping[str, tuple[Products, ...]]
    layers: int
    read_along_bytes: float


def kernel_work(
    model: Model, placement: DevicePlacement, device: int, experts_per_token: int | None = None
) -> KernelWork:
    """Count what the device computes for one token. ``device`` is HOST or a GPU's number."""
    found: dict[str, list[Products]] = defaultdict(list)
    along = 0.0
    for item in _all(model, placement, device, experts_per_token):
        if item.tensor_class in READ_ALONG:
            along += item.num_bytes
        # A class without bytes has no format to look a law up by.
        elif item.num_bytes:
            found[model.dtypes[item.tensor_class]].append(item)
    return KernelWork(
        products={name: tuple(own) for name, own in found.items()},
        layers=int((placement.attention == device).sum()),
        read_along_bytes=along,
    )


def _all(
    model: Model, placement: DevicePlacement, device: int, experts_per_token: int | None
) -> Iterator[Products]:
    for index, layer in enumerate(model.layers):
        if placement.attention[index] == device:
            yield _attention(layer, model.hidden)
        for item in _after_attention(model, placement, index, device, experts_per_token):
            # Not for attention, yielded above: it must see all tokens to keep their keys and
            # values.
            yield replace(item, is_of_last_token=index == model.num_layers - 1)
    if placement.head == device:
        yield replace(_head(model), is_of_last_token=True)


def _after_attention(
    model: Model, placement: DevicePlacement, index: int, device: int, experts_per_token: int | None
) -> Iterator[Products]:
    """Yield the products of a layer behind attention.

    In the last layer they run only for the tokens whose logits are wanted (llama.cpp,
    ``inp_out_ids`` in src/models).
    """
    layer = model.layers[index]
    if placement.dense[index] == device:
        yield from _dense(layer, model.hidden)
    share = float(placement.expert_fraction[index, device + 1])
    if share and layer.is_moe:
        chosen = layer.top_k if experts_per_token is None else experts_per_token
        yield _experts(layer, model.hidden, min(chosen, layer.num_experts) * share)


def _attention(layer: Layer, hidden: int) -> Products:
    """Return the products with the matrices of queries, keys, values and the output.

    The rows are the weights over the hidden size, also for kinds other than grouped attention.
    """
    weights = layer.params.get(TensorClass.ATTENTION, 0)
    return Products(
        tensor_class=TensorClass.ATTENTION,
        num_bytes=layer.bytes.get(TensorClass.ATTENTION, 0),
        rows=weights / hidden,
        matrices=4,
        weights=weights,
    )


def _dense(layer: Layer, hidden: int) -> Iterator[Products]:
    """Yield the products of the shared expert and the dense feed-forward, and the small tensors.

    The small tensors are the router and the norms.
    """
    for tensor_class in (TensorClass.SHARED_EXPERT, TensorClass.DENSE_FFN):
        weights = layer.params.get(tensor_class, 0)
        if weights:
            yield _feed_forward(tensor_class, layer.bytes[tensor_class], weights, hidden, 1)
    for tensor_class in READ_ALONG:
        yield Products(
            tensor_class=tensor_class,
            num_bytes=layer.bytes.get(tensor_class, 0),
            rows=0,
            matrices=0,
            weights=layer.params.get(tensor_class, 0),
        )


def _experts(layer: Layer, hidden: int, count: float) -> Products:
    weights = layer.params.get(TensorClass.EXPERT, 0)
    return _feed_forward(TensorClass.EXPERT, layer.expert_bytes, weights, hidden, count)


def _feed_forward(
    tensor_class: TensorClass, num_bytes: float, weights: float, hidden: int, count: float
) -> Products:
    """Return the products with gate, up and down of ``count`` experts."""
    # Gate, up and down are equally large, so the inner dimension follows from their weights.
    inner = weights / (3 * hidden)
    return Products(
        tensor_class=tensor_class,
        num_bytes=count * num_bytes,
        rows=count * (2 * inner + hidden),
        matrices=3 * count,
        weights=count * weights,
    )


def _head(model: Model) -> Products:
    return Products(
        tensor_class=model.head_class,
        num_bytes=model.top_bytes.get(model.head_class, 0),
        rows=model.vocab,
        matrices=1,
        weights=model.top_params.get(model.head_class, 0),
    )
