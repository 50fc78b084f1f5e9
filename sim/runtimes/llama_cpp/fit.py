"""What llama.cpp's ``--fit`` chooses where nothing in the arguments places anything (common/fit.cpp
at 0c1e57098).

Everything goes to the GPU if it fits, less a margin. Otherwise the dense parts of all layers do,
then the experts of layers from the first on, then of the next layer its matrices up and gate as far
as they fit. Where not even the dense parts fit, layers do from the last on. It counts GPU memory
alone and knows no speeds.
"""

from dataclasses import replace

from hwprofiles import InputError
from hwprofiles.units import MIB
from sim.model.model import Model
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.overrides import EXPERTS, HOST, Override


def fitted_arguments(model: Model, arguments: LlamaArguments, free_bytes: float) -> LlamaArguments:
    """The arguments with what the fit chooses for one GPU that has so many bytes left for weights.

    ik_llama.cpp fails where the dense parts do not fit. Which layers keep their experts there is
    not documented: the first are taken, as here.
    Raises InputError where it fails.
    """
    budget = free_bytes - arguments.fit_margin_mib * MIB - model.non_expert_bytes
    if budget < 0 and arguments.is_ik:
        raise InputError(
            f"{arguments.runtime} --fit: attention and shared parts do not fit the GPU, so it fails"
        )
    if budget < 0:
        return replace(arguments, gpu_layers=_whole_layers(model, arguments, free_bytes))
    placements: list[Override] = []
    is_full = False
    for index in model.moe_layers:
        layer = model.layers[index]
        size = layer.num_experts * layer.expert_bytes
        # After the first layer that does not fit, none is tried: a later, smaller one stays on the
        # host.
        if not is_full and size <= budget:
            budget -= size
            continue
        placements.append(_rest(index, budget / size if not is_full else 0.0))
        is_full = True
    return replace(arguments, gpu_layers=model.num_layers + 1, placements=tuple(placements))


def check_single_gpu(arguments: LlamaArguments, num_gpus: int) -> None:
    """Raise InputError where the fit would have to share layers among several GPUs, which is not
    modelled.
    """
    if arguments.uses_fit and num_gpus > 1:
        raise InputError(
            f"{arguments.runtime} chooses by --fit among {num_gpus} GPUs, which is not modelled; state -ngl and -ot or -ncmoe"
        )


def _rest(layer: int, fitting: float) -> Override:
    """What of the first layer that does not fit stays on the host: all experts, or those matrices
    that do not fit.
    """
    # By thirds, as a layer's experts are three matrices of one size.
    if fitting >= 2 / 3:
        return Override(pattern=rf"blk\.{layer}\.ffn_down_(ch|)exps", device=HOST)
    if fitting >= 1 / 3:
        return Override(pattern=rf"blk\.{layer}\.ffn_(down|gate|gate_up)_(ch|)exps", device=HOST)
    return Override(pattern=rf"blk\.{layer}{EXPERTS}", device=HOST)


def _whole_layers(model: Model, arguments: LlamaArguments, free_bytes: float) -> int:
    """Layers, from the last on, whose dense parts fit."""
    left = free_bytes - arguments.fit_margin_mib * MIB
    count = 0
    for layer in reversed(model.layers):
        left -= layer.dense_bytes + layer.num_experts * layer.expert_bytes
        if left < 0:
            break
        count += 1
    return count
