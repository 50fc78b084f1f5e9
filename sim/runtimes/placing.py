"""The placement of a question, by the rules of the program that is asked.

What the arguments leave open, the program chooses.
"""

from dataclasses import replace

import numpy as np

from hwprofiles.units import MIB
from sim.runtimes.accelerate.arguments import AccelerateArguments
from sim.runtimes.accelerate.placement import place as place_accelerate
from sim.runtimes.caching.locality import locality_of
from sim.runtimes.exllamav3.arguments import Exl3Arguments
from sim.runtimes.exllamav3.placement import computed
from sim.runtimes.exllamav3.placement import place as place_exl3
from sim.runtimes.ktransformers.arguments import KtArguments
from sim.runtimes.ktransformers.placement import place as place_kt
from sim.runtimes.llama_cpp.arguments import ALL_LAYERS, LlamaArguments
from sim.runtimes.llama_cpp.fit import FitMemory, fitted_arguments
from sim.runtimes.llama_cpp.overrides import CpuExperts
from sim.runtimes.llama_cpp.placement import gpus_in_use
from sim.runtimes.llama_cpp.placement import place as place_llama
from sim.runtimes.memory import DeviceMemory, kv_bytes_by_layer, memory_of
from sim.runtimes.placement import HOST, DevicePlacement
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.rows import with_rows_placed
from sim.runtimes.slices import with_slices
from sim.runtimes.vllm.arguments import VllmArguments
from sim.runtimes.vllm.placement import place as place_vllm


def placement_of(question: RuntimeQuestion) -> DevicePlacement:
    """Return where the arguments put the model.

    Raises InputError where they do not fit the machine.
    """
    arguments = question.arguments
    gpus = question.host.gpus
    if not isinstance(arguments, LlamaArguments):
        return _placed_otherwise(question, arguments)
    if gpus:
        arguments = completed_by_fit(question, arguments)
    memories = [gpu.memory_bytes for gpu in gpus]
    # Every GPU's memory, as llama.cpp splits layers by what each has.
    placement = place_llama(question.model, arguments, memories, question.tensors)
    if question.gpu_expert_layers is not None and gpus and not arguments.placements:
        placement = with_expert_layers(question, placement, question.gpu_expert_layers)
    return with_slices(question, with_rows_placed(question, placement))


def _placed_otherwise(
    question: RuntimeQuestion,
    arguments: KtArguments | VllmArguments | AccelerateArguments | Exl3Arguments,
) -> DevicePlacement:
    """Return where a program that does not place single tensors puts the model."""
    model = question.model
    num_gpus = len(question.host.gpus)
    if isinstance(arguments, KtArguments):
        return place_kt(model, arguments, num_gpus, question.host.sockets)
    if isinstance(arguments, VllmArguments):
        return place_vllm(model, arguments, num_gpus)
    if isinstance(arguments, AccelerateArguments):
        return place_accelerate(model, arguments, num_gpus)
    return place_exl3(model, arguments, num_gpus)


def completed_by_fit(question: RuntimeQuestion, arguments: LlamaArguments) -> LlamaArguments:
    """Return the arguments with what llama.cpp's fit chooses, if they place nothing themselves."""
    if not arguments.uses_fit or question.gpu_expert_layers is not None:
        return arguments
    memory = [gpu.memory_bytes for gpu in question.host.gpus]
    gpus = gpus_in_use(arguments, len(memory))
    margin = arguments.fit_margin_mib * MIB
    whole = replace(arguments, gpu_layers=ALL_LAYERS)
    needed = _memory_with(question, whole)
    if all(needed[f"gpu{gpu}"].total + margin <= memory[gpu] for gpu in gpus):
        return whole
    # Buffers are sized with experts on the host, as some of them will be.
    needed = _memory_with(question, replace(whole, placements=(CpuExperts(num_layers=None),)))
    divided = FitMemory(
        free_bytes=[memory[gpu] for gpu in gpus],
        compute_bytes=[needed[f"gpu{gpu}"].compute for gpu in gpus],
        kv_bytes=kv_bytes_by_layer(question),
    )
    return fitted_arguments(question.model, arguments, divided, gpus, question.tensors)


def _memory_with(question: RuntimeQuestion, tried: LlamaArguments) -> dict[str, DeviceMemory]:
    """Return the memory that these arguments would need on each device."""
    memory = [gpu.memory_bytes for gpu in question.host.gpus]
    placed = place_llama(question.model, tried, memory, question.tensors)
    return memory_of(replace(question, arguments=tried), placed)


def with_expert_layers(
    question: RuntimeQuestion, placement: DevicePlacement, num_layers: int
) -> DevicePlacement:
    """Return the placement with the experts of the last ``num_layers`` MoE layers on GPUs.

    Each of these layers has its experts on the device of its attention. The experts of all other
    layers are on the host.
    """
    moved = np.zeros_like(placement.expert_fraction)
    moe = question.model.moe_layers
    kept = set(moe[len(moe) - num_layers :]) if num_layers else set()
    for layer in moe:
        moved[layer, (placement.attention[layer] if layer in kept else HOST) + 1] = 1.0
    # Each such layer goes to the host and back: two crossings.
    visits = sum(1 for layer in moe if layer not in kept and placement.attention[layer] != HOST)
    sizes = np.array(
        [layer.num_experts * layer.expert_bytes for layer in question.model.layers], float
    )
    weights = placement.weight_bytes + (moved - placement.expert_fraction).T @ sizes
    return replace(
        placement,
        expert_fraction=moved,
        num_crossings=placement.num_crossings + 2 * visits,
        weight_bytes=weights,
    )


def with_expert_cache(question: RuntimeQuestion, placement: DevicePlacement) -> DevicePlacement:
    """Return the placement with the share of host experts that a token finds on a GPU moved there.

    The GPU holds them in the cache of --moe-cache-mib, which is an LRU. With exllamav3, it holds
    the experts that were chosen most.
    """
    arguments = question.arguments
    if isinstance(arguments, Exl3Arguments):
        return computed(question.model, arguments, placement)
    if (
        not isinstance(arguments, LlamaArguments)
        or not arguments.expert_cache_mib
        or not placement.num_gpus
    ):
        return placement
    sizes = np.array(
        [layer.num_experts * layer.expert_bytes for layer in question.model.layers], float
    )
    held = float(np.sum(sizes * placement.expert_fraction[:, 0]))
    share = min(1.0, arguments.expert_cache_mib * MIB / held) if held else 0.0
    fractions = placement.expert_fraction.copy()
    # In the mean a token finds that share on the GPU; where it is computed is all that prices ask.
    moved = fractions[:, 0] * (1.0 - locality_of(question.model.name).misses("lru", share))
    fractions[:, 0] -= moved
    fractions[np.arange(len(sizes)), np.maximum(placement.attention, 0) + 1] += moved
    return replace(placement, expert_fraction=fractions)
