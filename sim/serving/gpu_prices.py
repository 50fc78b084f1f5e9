"""Prices of a model that is whole on the GPUs: on one, or split over several by tensor
parallelism.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine, Provenance, Quantity, weakest
from hwprofiles.units import NS_PER_S
from sim.costs.cost_model import CostModel
from sim.costs.roofline import FLOPS_PER_STATE_ELEMENT, FLOPS_PER_WEIGHT, compute_type
from sim.model.model import Attention, AttentionCache, Model, State, TensorClass, layer_shapes
from sim.serving.link import TransferRate
from sim.serving.options import InstanceOptions
from sim.serving.prices import TICKS_PER_NS, AttentionLine, AttentionPrice, StepPrices

ALL_REDUCES_PER_LAYER = 2
"""One after attention and one after the feed-forward: Megatron-LM (arXiv 1909.08053), section 3."""

Ns = NDArray[np.float64]
_Kind = tuple[Attention | None, State | None, int, int]


def gpu_prices(machine: Machine, model: Model, options: InstanceOptions) -> StepPrices:
    """Return the prices of steps with every weight on ``options.num_gpus`` GPUs.

    Bandwidth and compute of the GPUs are pooled, and the all-reduces between them are added. The
    number of routed experts that a layer reads is an expectation, with experts chosen evenly, not a
    draw.
    """
    pooled = pooled_machine(machine, options)
    costs = CostModel(
        machine=pooled, model=model, is_fused=True, captures_graphs=options.captures_graphs
    )
    # A price for every size that a step may have: a run looks one up at every step.
    tokens = np.arange(options.max_step_tokens + 1)
    base = _base_ns(costs, tokens, options) + _all_reduce_ns(model, tokens, options)
    # A step without tokens does not happen; the entry only fills the table.
    base[0] = 0
    sampled = costs.head("gpu", np.arange(options.max_sequences + 1)).ns
    sampled[0] = 0
    return StepPrices(
        base=_ticks(base),
        head=_ticks(sampled),
        attention=attention_prices(costs),
        num_layers=model.num_layers,
        provenance=_provenance(costs, options),
        warnings=(*_warnings(model, options), *attention_warnings(costs)),
    )


def pooled_machine(machine: Machine, options: InstanceOptions) -> Machine:
    """Return the machine with ``options.num_gpus`` of its GPUs pooled as one."""
    gpu = machine.gpu
    count = options.num_gpus
    pooled = gpu.model_copy(
        update={
            "count": 1,
            "memory_bytes": _scaled(gpu.memory_bytes, count),
            "memory_bytes_per_s": _scaled(gpu.memory_bytes_per_s, count),
            "flops_per_s": {name: _scaled(rate, count) for name, rate in gpu.flops_per_s.items()},
        }
    )
    return machine.model_copy(
        # Measured curves are of one GPU at its sizes. What several do together follows from their
        # rates.
        update={"gpu": pooled, "curves": machine.curves if count == 1 else ()}
    )


def attention_prices(costs: CostModel) -> tuple[AttentionPrice, ...]:
    """Return the price of attention in each kind of layer, as ``CostModel.attention`` prices it.

    A layer that reads several caches has a price for each.
    """
    # A model has dozens of layers but few kinds; a step then prices each kind once.
    counts: Counter[_Kind] = Counter()
    sample = {}
    for index, layer in enumerate(costs.model.layers):
        if not layer.has_mixer:
            continue
        params = layer.params.get(TensorClass.ATTENTION, 0) + layer.params.get(TensorClass.NORM, 0)
        num_bytes = layer.bytes.get(TensorClass.ATTENTION, 0) + layer.bytes.get(TensorClass.NORM, 0)
        key = (layer.attention, layer.state, params, num_bytes)
        counts[key] += 1
        sample[key] = index, params, num_bytes
    return tuple(
        price
        for key, count in counts.items()
        for price in _attention_prices(costs, *sample[key], count)
    )


def attention_warnings(costs: CostModel) -> list[str]:
    """Return a warning where the machine has measured attention, which is not used.

    The measured curves are of equal sequences, and the sequences of a step differ.
    """
    if not any(costs.attention_curves("gpu", layer) for layer in range(costs.model.num_layers)):
        return []
    return [
        f"attention is priced by the roofline of {costs.machine.name}, not by its measured curves, which hold for equal sequences"
    ]


def _attention_prices(
    costs: CostModel, layer: int, params: int, num_bytes: int, num_layers: int
) -> Iterator[AttentionPrice]:
    """Yield the prices of ``num_layers`` layers that are like ``layer``.

    The first price has the layer's weights and kernels. The prices of further caches, and of a
    state, add only what they read and compute.
    """
    spec = costs.model.layers[layer]
    model = costs.model
    parts = [_of_cache(costs, cache) for cache in spec.caches]
    parts += [_of_state(spec.state)] if spec.state is not None else []
    first, *others = parts or [_of_cache(costs, None)]
    weights_read = costs.as_read("gpu", num_bytes, params, model.dtype(TensorClass.ATTENTION))
    # Attention reads and writes the activations twice each: around its projections in and out.
    activations = 4 * model.hidden * model.activation_bytes
    whole = replace(
        first,
        read_bytes=first.read_bytes + np.array([weights_read, activations, 0, 0]),
        flops=first.flops + np.array([0, FLOPS_PER_WEIGHT * params, 0, 0]),
    )
    yield _priced(costs, whole, num_layers, has_kernels=True)
    for part in others:
        yield _priced(costs, part, num_layers, has_kernels=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """The bytes and FLOPs of one cache or state of a layer, each as a float array of shape [4].

    The entries are fixed, per token, per token of KV, and per pair, as in AttentionLine.
    """

    read_bytes: Ns
    flops: Ns
    window_tokens: int | None
    is_state: bool = False


def _of_cache(costs: CostModel, cache: AttentionCache | None) -> _Part:
    """The part of reading one cache and computing over it; all zero where there is no cache."""
    elements = 0.0 if cache is None else cache.elements / cache.tokens_per_entry
    pair_elements = 0.0 if cache is None else cache.pair_elements / cache.tokens_per_entry
    return _Part(
        read_bytes=np.array([0, 0, elements * costs.model.kv_element_bytes, 0]),
        flops=np.array([0, 0, 0, FLOPS_PER_WEIGHT * pair_elements]),
        window_tokens=None if cache is None else cache.looks_at_tokens,
    )


def _of_state(state: State) -> _Part:
    """The part of reading and writing a state, and computing with it."""
    return _Part(
        read_bytes=np.array([0, 0, 2.0 * state.bytes, 0]),
        flops=np.array([0, 0, 0, float(FLOPS_PER_STATE_ELEMENT * state.elements)]),
        # With a window of one token, a state counts as one entry that does not grow with the
        # context.
        window_tokens=1,
        is_state=True,
    )


def _priced(costs: CostModel, part: _Part, num_layers: int, *, has_kernels: bool) -> AttentionPrice:
    gpu = costs.machine.gpu
    rate = gpu.flops_per_s[compute_type(gpu.flops_per_s, costs.model.dtype(TensorClass.ATTENTION))]
    reading = part.read_bytes * NS_PER_S * TICKS_PER_NS / gpu.memory_bytes_per_s.effective
    computing = part.flops * NS_PER_S * TICKS_PER_NS / rate.effective
    kernels = np.array([costs.kernels_ns("attention") * TICKS_PER_NS * has_kernels, 0, 0, 0])
    serial = gpu.serial_fraction.effective
    return AttentionPrice(
        num_layers=num_layers,
        window_tokens=part.window_tokens,
        floor=round(costs.launches_ns("attention") * TICKS_PER_NS) if has_kernels else 0,
        # The longer of reading and computing counts, and the serial share of the shorter: the two
        # do not overlap wholly. Which of the two is longer changes with the contexts, hence two
        # lines.
        lines=(
            _line(reading + serial * computing + kernels),
            _line(computing + serial * reading + kernels),
        ),
        is_state=part.is_state,
    )


def _line(ticks: Ns) -> AttentionLine:
    fixed, token, kept, pair = (round(float(value)) for value in ticks)
    return AttentionLine(fixed=fixed, token=token, kept=kept, pair=pair)


def _base_ns(costs: CostModel, tokens: NDArray[np.int64], options: InstanceOptions) -> Ns:
    """Nanoseconds by number of tokens of all but attention and vocabulary: feed-forwards, routers,
    experts, and the host's own time.
    """
    model = costs.model
    representatives, numbers = layer_shapes(model)
    total = np.full(
        len(tokens),
        options.step_overhead_ns
        + float(costs.step_overhead_ns() + model.num_layers * costs.layer_overhead_ns()),
    )
    for shape, layer in enumerate(representatives):
        each = np.zeros(len(tokens))
        for which in (TensorClass.ROUTER, TensorClass.DENSE_FFN, TensorClass.SHARED_EXPERT):
            if model.layers[layer].params.get(which):
                each += costs.weights("gpu", layer, which, tokens).ns
        if model.layers[layer].is_moe:
            each += _experts_ns(costs, layer, tokens)
        total += each * np.count_nonzero(numbers == shape)
    return total


def _experts_ns(costs: CostModel, layer: int, tokens: NDArray[np.int64]) -> Ns:
    spec = costs.model.layers[layer]
    # The expected number of distinct experts, where each token selects top_k of them evenly and
    # independently of others. An expert then gets the mean number of tokens.
    chosen = spec.num_experts * (1 - (1 - spec.top_k / spec.num_experts) ** np.maximum(tokens, 1))
    each = costs.in_groups().expert("gpu", layer, np.maximum(tokens, 1) * spec.top_k / chosen).ns
    return np.asarray(
        np.maximum(chosen * each + costs.group_overhead_ns("gpu"), costs.group_least_ns()),
        np.float64,
    )


def _all_reduce_ns(model: Model, tokens: NDArray[np.int64], options: InstanceOptions) -> Ns:
    link = options.all_reduce
    # Without a stated link all-reduces are left out, and a warning says so: no rate is invented.
    if options.num_gpus == 1 or link is None:
        return np.zeros(len(tokens))
    num_bytes = tokens * model.hidden * model.activation_bytes
    return np.asarray(
        ALL_REDUCES_PER_LAYER
        * model.num_layers
        * (link.latency_ns + num_bytes / link.bytes_per_s * NS_PER_S)
    )


def _provenance(costs: CostModel, options: InstanceOptions) -> Provenance:
    gpu = costs.machine.gpu
    used: list[Quantity] = [gpu.memory_bytes, gpu.memory_bytes_per_s, *gpu.flops_per_s.values()]
    link: list[TransferRate] = (
        # What is not used cannot make a result less certain.
        [options.all_reduce] if options.all_reduce is not None and options.num_gpus > 1 else []
    )
    return weakest([quantity.provenance for quantity in used] + [part.provenance for part in link])


def _warnings(model: Model, options: InstanceOptions) -> list[str]:
    found = []
    if options.num_gpus > 1 and options.all_reduce is None:
        found.append(
            f"{options.num_gpus} GPUs work as one with no time for their all-reduces; state instance.all_reduce to count it"
        )
    if model.moe_layers:
        found.append(
            "experts are taken to be selected evenly; under a policy they are drawn from the routing"
        )
    return found


def _scaled(quantity: Quantity, factor: int) -> Quantity:
    return quantity.model_copy(update={"value": quantity.value * factor})


def _ticks(ns: NDArray[np.generic]) -> tuple[int, ...]:
    return tuple(round(float(value) * TICKS_PER_NS) for value in ns)
