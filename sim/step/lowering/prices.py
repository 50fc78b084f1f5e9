"""The price of everything a run may do, in arrays that compiled code reads."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.costs.cost_model import CostModel, Way
from sim.costs.roofline import Device
from sim.engine.task import NONE
from sim.model.model import TensorClass, layer_shapes
from sim.policies.actions import LayerMode
from sim.policies.problem import Problem
from sim.step.rules.around import hidden_copies
from sim.workload.batch import Passes


class Prices(NamedTuple):
    """The prices of everything that a run may do; durations are in ns.

    ``attention``, ``gate`` and ``ffn`` (dense or shared experts) are [pass, layer], each where its
    layer runs. ``head`` is [pass] (NONE: not run). ``expert_gpu`` and ``expert_cpu`` are [layer
    shape, tokens], with ``shape_of`` [layer]. ``fetch``, ``evict`` and ``layer_fetch`` are the
    copies [layer] of an expert and of a whole layer, with their bytes. ``share_fetch`` and
    ``share_bytes`` [layer, GPU] are the copies of what one GPU runs of a layer.

    ``activations`` are [layer shape; to the GPU, from the GPU, from one GPU to another; tokens];
    ``activation_bytes`` are those of one token. ``is_direct`` says whether activations go directly
    from one GPU to another. ``group_gpu`` and ``group_cpu`` are what one call for a layer's experts
    takes besides the experts (0: there are no such calls). ``least_gpu`` is the least that such a
    call lasts on the GPU.
    """

    attention: NDArray[np.int64]
    gate: NDArray[np.int64]
    ffn: NDArray[np.int64]
    head: NDArray[np.int64]
    expert_gpu: NDArray[np.int64]
    expert_cpu: NDArray[np.int64]
    shape_of: NDArray[np.int64]
    fetch: NDArray[np.int64]
    evict: NDArray[np.int64]
    layer_fetch: NDArray[np.int64]
    head_fetch: int
    expert_bytes: NDArray[np.int64]
    layer_bytes: NDArray[np.int64]
    head_bytes: int
    share_fetch: NDArray[np.int64]
    share_bytes: NDArray[np.int64]
    activations: NDArray[np.int64]
    activation_bytes: int
    is_direct: bool
    group_gpu: int
    least_gpu: int
    group_cpu: int
    layer_overhead: int
    step_overhead: int


def price(
    problem: Problem,
    passes: Passes,
    modes: NDArray[np.uint8],
    head_modes: NDArray[np.uint8],
    max_tokens: int,
) -> Prices:
    """Return the price of everything that a run over those passes may do.

    No expert gets more than ``max_tokens``. Prices that depend on neither modes nor policy are
    computed once for all runs that share the problem's costs. So callers must not change the
    arrays.
    """
    costs = problem.costs
    model = problem.model
    # Layers of one shape cost the same: each shape is priced once.
    representatives, shape_of = layer_shapes(model)
    is_pinned = problem.overlap.is_pinned
    is_grouped = problem.overlap.groups_experts
    # Keys say all that the prices depend on besides the model of costs itself.
    of_passes = costs.once(
        ("passes", *passes.contents), lambda: _by_device(costs, passes, representatives, shape_of)
    )
    copies = costs.once(
        ("copies", is_pinned, int(passes.num_tokens.max())),
        lambda: _copies(costs, is_pinned, int(passes.num_tokens.max())),
    )
    shares = costs.once(("shares", is_pinned, problem.num_gpus), lambda: _shares(costs, problem))
    tables = {
        device: _expert_tables(problem.expert_costs, device, representatives, max_tokens)
        for device in ("gpu", "cpu")
    }
    is_on_cpu = modes == LayerMode.CPU
    is_head_on_cpu = head_modes == LayerMode.CPU
    return Prices(
        attention=_chosen(is_on_cpu, of_passes["attention"]),
        gate=_chosen(is_on_cpu, of_passes["gate"]),
        ffn=_chosen(is_on_cpu, of_passes["ffn"]),
        head=np.where(of_passes["is_head_run"], _chosen(is_head_on_cpu, of_passes["head"]), NONE),
        expert_gpu=tables["gpu"],
        expert_cpu=tables["cpu"],
        shape_of=shape_of,
        activation_bytes=model.hidden * model.activation_bytes,
        is_direct=problem.machine.gpu_link is not None,
        group_gpu=costs.group_overhead_ns("gpu") if is_grouped else 0,
        least_gpu=costs.group_least_ns() if is_grouped else 0,
        group_cpu=costs.group_overhead_ns("cpu") if is_grouped else 0,
        layer_overhead=costs.layer_overhead_ns(),
        step_overhead=costs.step_overhead_ns(),
        **copies,
        **shares,
    )


def _chosen(is_on_cpu: NDArray[np.bool_], prices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose the prices of the device that runs each entry from ``prices`` [GPU or CPU, …]."""
    # Most policies run no layer on the CPU.
    return np.asarray(np.where(is_on_cpu, prices[1], prices[0]) if is_on_cpu.any() else prices[0])


def _copies(costs: CostModel, is_pinned: bool, max_tokens: int) -> dict[str, Any]:
    """Return the copies of weights, and those of the activations of 0 to ``max_tokens`` tokens."""
    layers = costs.model.layers
    top = costs.model.head_bytes
    last = costs.at(len(layers) - 1)
    expert = np.array([layer.expert_bytes for layer in layers], np.int64)
    whole = np.array(
        [layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in layers], np.int64
    )
    return {
        "fetch": _by_layer(costs, "h2d", expert, is_pinned=is_pinned),
        "evict": _by_layer(costs, "d2h", expert, is_pinned=is_pinned),
        "layer_fetch": _by_layer(costs, "h2d", whole, is_pinned=is_pinned),
        "head_fetch": int(last.copy("h2d", top, is_pinned=is_pinned).ns),
        "activations": hidden_copies(costs, max_tokens, is_pinned=is_pinned),
        "expert_bytes": expert,
        "layer_bytes": whole,
        "head_bytes": top,
    }


def _by_layer(
    costs: CostModel, way: Way, num_bytes: NDArray[np.int64], *, is_pinned: bool
) -> NDArray[np.int64]:
    """Return the ns of copies [layer], each over the link of its layer's card."""
    shapes, shape_of = layer_shapes(costs.model)
    found = np.zeros(len(num_bytes), np.int64)
    for shape, layer in enumerate(shapes):
        own = shape_of == shape
        found[own] = costs.at(layer).copy(way, num_bytes[own], is_pinned=is_pinned).ns
    return found


def _shares(costs: CostModel, problem: Problem) -> dict[str, Any]:
    """Copies of what each GPU runs of a layer: its experts, and on GPU 0 the dense part."""
    layers = costs.model.layers
    exists = (
        np.arange(costs.model.num_experts)
        < np.array([layer.num_experts for layer in layers])[:, None]
    )
    counts = np.stack(
        [(exists & (problem.gpu_of_expert == gpu)).sum(axis=1) for gpu in range(problem.num_gpus)],
        axis=1,
    )
    num_bytes = counts * np.array([layer.expert_bytes for layer in layers])[:, None]
    num_bytes[:, 0] += [layer.dense_bytes for layer in layers]
    return {
        "share_fetch": np.stack(
            [
                _by_layer(costs, "h2d", column, is_pinned=problem.overlap.is_pinned)
                for column in num_bytes.T
            ],
            axis=1,
        ),
        "share_bytes": num_bytes,
    }


_DEVICES: tuple[Device, Device] = ("gpu", "cpu")


def _by_device(
    costs: CostModel, passes: Passes, representatives: list[int], shape_of: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Return what is priced once for each device.

    Attention, gate and feed-forward are ns [GPU or CPU, pass, layer], the head is ns [GPU or CPU,
    pass]. ``is_head_run`` [pass] says which passes run the head. Of a prompt in chunks only the
    last pass does, over each sequence's last position.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, pricer in _BY_LAYER.items():
        by_shape = [
            np.stack([pricer(costs, device, layer, passes) for layer in representatives], axis=1)
            for device in _DEVICES
        ]
        found[name] = np.stack(by_shape)[:, :, shape_of].copy()
    sequences = np.bincount(passes.group, passes.num_sequences).astype(np.int64)[passes.group]
    found["head"] = np.stack([costs.head(device, sequences).ns for device in _DEVICES])
    # A prompt in chunks gives its token behind the last chunk.
    is_last_chunk = (
        np.append(np.diff(passes.is_prefill.astype(np.int8)) != 0, True) | ~passes.is_prefill
    )
    found["is_head_run"] = is_last_chunk & np.append(np.diff(passes.group) != 0, True)
    return found


def _attention(costs: CostModel, device: Device, layer: int, passes: Passes) -> NDArray[np.int64]:
    return costs.attention(
        device,
        layer,
        passes.num_tokens,
        passes.num_sequences,
        passes.first_position,
        passes.context_tokens,
    ).ns


def _gate(costs: CostModel, device: Device, layer: int, passes: Passes) -> NDArray[np.int64]:
    return _class_price(costs, device, layer, TensorClass.ROUTER, passes)


def _ffn(costs: CostModel, device: Device, layer: int, passes: Passes) -> NDArray[np.int64]:
    """Return the ns [pass] of shared experts and of a dense feed-forward, which may stand beside
    experts.
    """
    shared = _class_price(costs, device, layer, TensorClass.SHARED_EXPERT, passes)
    return shared + _class_price(costs, device, layer, TensorClass.DENSE_FFN, passes)


def _class_price(
    costs: CostModel, device: Device, layer: int, which: TensorClass, passes: Passes
) -> NDArray[np.int64]:
    if not costs.model.layers[layer].params.get(which, 0):
        return np.zeros(len(passes), np.int64)
    return costs.weights(device, layer, which, passes.num_tokens).ns


Pricer = Callable[[CostModel, Device, int, Passes], NDArray[np.int64]]
_BY_LAYER: Mapping[str, Pricer] = {"attention": _attention, "gate": _gate, "ffn": _ffn}


def _expert_tables(
    costs: CostModel, device: Device, representatives: list[int], max_tokens: int
) -> NDArray[np.int64]:
    rows = []
    for layer in representatives:
        is_moe = costs.model.layers[layer].is_moe
        rows.append(
            costs.expert_table(device, layer, max_tokens)
            if is_moe
            else np.zeros(max_tokens + 1, np.int64)
        )
    return np.stack(rows)
