"""Layouts of llama.cpp: a device for each layer, and one for each matrix of its experts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.export.llama_cpp.placements import expert_overrides
from planner.runtimes.asked import Asked
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LlamaArguments
from sim.runtimes.llama_cpp.placement import place_matrices
from sim.runtimes.placement import HOST, DevicePlacement

Matrices = tuple[int, int, int]
"""Devices of a layer's matrices gate, up and down."""

ON_HOST: Matrices = (HOST, HOST, HOST)


@dataclass(frozen=True, slots=True)
class Layout:
    """A device for each layer, and for each matrix of its experts.

    ``homes`` are the devices of the layers, and of the head as the last entry. ``matrices`` [layer]
    are the devices of the layer's expert matrices; those of dense layers count nothing.
    """

    homes: tuple[int, ...]
    matrices: tuple[Matrices, ...]


def layout_of(homes: Sequence[int], host_layers: Sequence[int]) -> Layout:
    """Return a layout with experts on their layers' devices, but those of ``host_layers`` on the
    host.
    """
    kept = set(host_layers)
    matrices = tuple(
        ON_HOST if layer in kept else (home, home, home) for layer, home in enumerate(homes[:-1])
    )
    return Layout(tuple(homes), matrices)


def homes_of(asked: Asked, split: Sequence[int]) -> tuple[int, ...]:
    """Return the devices of the layers and of the head, for a ``split`` [gpu] of the last layers.

    A split for llama.cpp counts the head as one more layer. A split for ik_llama.cpp does not:
    where not all layers are on GPUs, the head stays on the host.
    """
    entries = asked.model.num_layers + 1
    on_gpus = [gpu for gpu, count in enumerate(split) for _ in range(count)]
    before = [HOST] * (entries - len(on_gpus))
    if asked.runtime == IK_LLAMA_CPP and before:
        return (*before[1:], *on_gpus, HOST)
    return (*before, *on_gpus)


def arguments_of(asked: Asked, base: LlamaArguments, layout: Layout) -> LlamaArguments:
    """Return the arguments that express the layout: ``-ngl``, ``-ot``, ``-ts`` for several GPUs."""
    num_gpus = len(asked.host.gpus)
    if not num_gpus:
        return base
    counts: list[int] = [layout.homes.count(gpu) for gpu in range(num_gpus)]
    num_on_gpus: int = sum(counts)
    return replace(
        base,
        gpu_layers=num_on_gpus,
        # A single GPU takes all layers that are not on the host, so it needs no split.
        tensor_split=tuple(map(float, counts)) if num_gpus > 1 and num_on_gpus else (),
        placements=expert_overrides(asked.model, layout.homes, layout.matrices),
    )


def placement_in(asked: Asked, layout: Layout) -> DevicePlacement:
    """Return where the layout puts the model."""
    return asked.placements.get(
        layout,
        lambda: place_matrices(
            asked.model,
            layout.homes,
            layout.matrices,
            num_gpus=len(asked.host.gpus),
            tensors=asked.tensors,
        ),
    )
