"""How much work one step gives to the kernels of one device, by the format of the weights."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sim.model.model import Layer, Model, TensorClass
from sim.runtimes.placement import DevicePlacement

READ_ALONG = frozenset({TensorClass.ROUTER, TensorClass.NORM})
"""Small tensors, in a wide format whatever the others are in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """Products of one token with matrices of one tensor class: bytes, rows of results, matrices,
    multiplications.

    ``is_of_last_token``: of a prompt's tokens they run for the last alone.
    """

    tensor_class: TensorClass
    num_bytes: float
    rows: float
    matrices: float
    weights: float
    is_of_last_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWork:
    """What one device does for one token: products by format, and layers whose other nodes it runs.

    ``read_along_bytes`` are of small tensors.
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
    """What runs in a layer behind attention: in the last layer only for the tokens whose logits are
    wanted (llama.cpp, ``inp_out_ids`` in src/models).
    """
    layer = model.layers[index]
    if placement.dense[index] == device:
        yield from _dense(layer, model.hidden)
    share = float(placement.expert_fraction[index, device + 1])
    if share and layer.is_moe:
        chosen = layer.top_k if experts_per_token is None else experts_per_token
        yield _experts(layer, model.hidden, min(chosen, layer.num_experts) * share)


def _attention(layer: Layer, hidden: int) -> Products:
    """Queries, keys, values and the output; of kinds other than grouped attention, as many rows as
    its weights have for one row of the hidden size.
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
    """The router, the shared expert and the dense layer, with the norms."""
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
    """Gate, up and down of that many experts."""
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
