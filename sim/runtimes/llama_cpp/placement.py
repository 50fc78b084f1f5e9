"""Placements of llama.cpp and ik_llama.cpp: where they put tensors, given their arguments.

The rules are those of src/llama-model.cpp at 0c1e57098, checked against llama-fit-params. The last
layers go to GPUs, and the first matching override wins. The input embedding stays on the host, and
the KV cache follows its layer.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from hwprofiles import InputError
from sim.model.model import Model, TensorClass
from sim.runtimes.llama_cpp.arguments import TENSOR, LlamaArguments
from sim.runtimes.llama_cpp.overrides import CpuExperts, Override
from sim.runtimes.placement import HOST, DevicePlacement, count_crossings
from sim.runtimes.tensors import EXPERT_PARTS, LayerTensor, TensorPart, TensorTable, tensors_of

EVERY_LAYER = 10**6


def place(
    model: Model,
    arguments: LlamaArguments,
    gpu_memory_bytes: Sequence[float],
    tensors: TensorTable | None = None,
) -> DevicePlacement:
    """Return the placement of the arguments for the model's tensors.

    ``gpu_memory_bytes`` [GPU] sets the default split of layers. An override for the head matches
    ``output.weight``; -ngl counts layers from the last. ``tensors`` are those of the model's file,
    where there is one. Raises InputError for a device that the machine does not have.
    """
    gpus = gpus_in_use(arguments, len(gpu_memory_bytes))
    homes = layer_devices(
        model.num_layers, arguments, [gpu_memory_bytes[gpu] for gpu in gpus], gpus
    )
    # Thousands of names are looked at, so each pattern is read once.
    overrides = [
        (re.compile(item.pattern), item.device)
        for item in _overrides(model, arguments, len(gpu_memory_bytes))
    ]
    devices = [
        [(tensor, _first_match(tensor.name, home, overrides)) for tensor in layer]
        for home, layer in zip(homes, tensors or tensors_of(model), strict=False)
    ]
    head = _first_match("output.weight", homes[-1], overrides)
    kv = [home if arguments.is_kv_offloaded else HOST for home in homes[:-1]]
    return _placement(model, kv, devices, head, len(gpu_memory_bytes))


def place_matrices(
    model: Model,
    homes: Sequence[int],
    matrices: Sequence[tuple[int, int, int]],
    *,
    num_gpus: int,
    tensors: TensorTable | None = None,
) -> DevicePlacement:
    """Return the placement with each layer at its home, and its experts' matrices where stated.

    ``homes`` are devices by layer, with the head's last. ``matrices`` are the devices of gate, up
    and down of each layer's experts. A search places so; the result is what ``place`` returns for
    arguments that say the same.
    """
    devices = [
        [(tensor, own.get(tensor.part, home)) for tensor in layer]
        for home, layer, own in zip(
            homes,
            tensors or tensors_of(model),
            (dict(zip(EXPERT_PARTS, layer, strict=True)) for layer in matrices),
            strict=False,
        )
    ]
    return _placement(model, list(homes[:-1]), devices, homes[-1], num_gpus)


def layer_devices(
    num_layers: int, arguments: LlamaArguments, memories: Sequence[float], gpus: Sequence[int]
) -> list[int]:
    """The device of each layer, and of the output head as the last entry."""
    if not gpus:
        return [HOST] * (num_layers + 1)
    asked = EVERY_LAYER if arguments.gpu_layers is None else arguments.gpu_layers
    first = max((num_layers if arguments.is_ik else num_layers + 1) - asked, 0)
    on_gpu = min(asked, num_layers + 1)
    shares = arguments.tensor_split[: len(gpus)] or tuple(memories)
    limits = [total / sum(shares) for total in accumulate(shares)]
    homes = [_home(layer, first, on_gpu, limits, gpus) for layer in range(num_layers + 1)]
    if arguments.is_ik and asked <= num_layers:
        homes[-1] = (
            HOST  # ik_llama.cpp does not count the head among the layers, so -ngl must exceed them
        )
    return homes


def _home(layer: int, first: int, on_gpu: int, limits: Sequence[float], gpus: Sequence[int]) -> int:
    if layer < first or on_gpu == 0:
        return HOST
    # The first GPU whose share of the layers is not yet full.
    position = bisect_right(limits, (layer - first) / on_gpu)
    return gpus[min(position, len(gpus) - 1)]


def gpus_in_use(arguments: LlamaArguments, num_gpus: int) -> list[int]:
    """Return the GPUs that layers are split over. Raises InputError for one that is not there."""
    chosen = list(range(num_gpus)) if arguments.devices is None else list(arguments.devices)
    unknown = [gpu for gpu in chosen if gpu >= num_gpus]
    if unknown:
        raise InputError(
            f"{arguments.runtime} argument -dev: the machine has {num_gpus} GPUs, got number {unknown[0]}"
        )
    if arguments.split_mode == TENSOR:
        # All GPUs are one device then; their slices are spread afterwards.
        return chosen[:1]
    # By rows too, layers have one home, the main GPU; their rows are spread afterwards.
    if arguments.split_mode in ("none", "row") and chosen:
        if arguments.main_gpu >= len(chosen):
            raise InputError(
                f"{arguments.runtime} argument -mg: {len(chosen)} GPUs are in use, got {arguments.main_gpu}"
            )
        return [chosen[arguments.main_gpu]]
    return chosen


def _overrides(model: Model, arguments: LlamaArguments, num_gpus: int) -> tuple[Override, ...]:
    """Return all overrides in order, with shorthands such as -cmoe written out.

    Raises InputError for those that cannot be placed.
    """
    found: list[Override] = []
    for item in arguments.placements:
        if isinstance(item, CpuExperts):
            # Which layers these are then is not known, and a guess would place them wrong.
            if item.is_from_end and num_gpus > 1:
                raise InputError(
                    f"{arguments.runtime} argument -ncmoe: with several GPUs its layers are not known; use -ot"
                )
            found.extend(item.overrides(model.num_layers, model.moe_layers))
        else:
            found.append(item)
    named = next((item for item in found if item.device >= 0), None)
    if arguments.split_mode == TENSOR and num_gpus > 1 and named is not None:
        raise InputError(
            f"{arguments.runtime} argument -ot {named.pattern}=CUDA{named.device}: with -sm tensor all GPUs "
            "are one device, so that only CPU can be named"
        )
    missing = [item for item in found if item.device >= num_gpus]
    if missing and num_gpus:
        raise InputError(
            f"{arguments.runtime} argument -ot {missing[0].pattern}=CUDA{missing[0].device}: the machine has {num_gpus} GPUs"
        )
    # Without a GPU, overrides to one change nothing, and a note says so.
    return tuple(item for item in found if item.device < max(num_gpus, 1))


def _first_match(name: str, home: int, overrides: Sequence[tuple[re.Pattern[str], int]]) -> int:
    """The device of the first pattern that is found anywhere in the name; else its layer's home."""
    for pattern, device in overrides:
        if pattern.search(name) is not None:
            return device
    return home


def _placement(
    model: Model,
    kv: Sequence[int],
    devices: Sequence[list[tuple[LayerTensor, int]]],
    head: int,
    num_gpus: int,
) -> DevicePlacement:
    """Return the placement of parts that follows from the devices of single tensors."""
    fractions = np.zeros((model.num_layers, num_gpus + 1))
    weights = np.zeros(num_gpus + 1)
    for index, placed in enumerate(devices):
        expert_bytes = sum(tensor.num_bytes for tensor, _ in placed if tensor.part in EXPERT_PARTS)
        for tensor, device in placed:
            weights[device + 1] += tensor.num_bytes
            if tensor.part in EXPERT_PARTS and expert_bytes:
                fractions[index, device + 1] += tensor.num_bytes / expert_bytes
    weights[0] += model.top_bytes.get(TensorClass.EMBEDDING, 0)
    # A tied head is the embedding itself, of which only a GPU needs a copy (TENSOR_DUPLICATED).
    if head != HOST or not model.is_head_tied:
        weights[head + 1] += model.top_bytes.get(model.head_class, 0)
    sequence = [device for placed in devices for device in _run_order(placed)] + [head]
    crossings, between = count_crossings(sequence)
    return DevicePlacement(
        attention=np.array([_most(placed, TensorPart.ATTENTION) for placed in devices]),
        kv=np.array(kv),
        dense=np.array([_dense_device(placed) for placed in devices]),
        expert_fraction=fractions,
        head=head,
        is_by_matrix=True,
        num_crossings=crossings,
        crossings_between_gpus=between,
        weight_bytes=weights,
    )


def _run_order(placed: Sequence[tuple[LayerTensor, int]]) -> list[int]:
    """The devices of a layer's work in order: norms go where their neighbours are."""
    return [device for tensor, device in placed if "norm" not in tensor.name]


def _most(placed: Sequence[tuple[LayerTensor, int]], part: TensorPart) -> int:
    """The device that holds most bytes of a part."""
    totals: dict[int, int] = {}
    for tensor, device in placed:
        if tensor.part is part:
            totals[device] = totals.get(device, 0) + tensor.num_bytes
    return max(totals, key=lambda device: totals[device])


def _dense_device(placed: Sequence[tuple[LayerTensor, int]]) -> int:
    """Return the device of what runs for every token outside attention.

    It is that of the shared expert or the dense layer, else that of the router.
    """
    has_feed_forward = any(tensor.part is TensorPart.FEED_FORWARD for tensor, _ in placed)
    return _most(placed, TensorPart.FEED_FORWARD if has_feed_forward else TensorPart.ROUTER)
