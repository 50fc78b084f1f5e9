"""What llama.cpp's ``--fit`` chooses where nothing in the arguments places anything
(common_params_fit_impl in common/fit.cpp at 0c1e57098).

It counts GPU memory alone, less a margin, and knows no speeds. Everything goes to the GPU if it
fits. Otherwise layers without their routed experts do, from the last on. If these fit, all of them,
the experts of layers from the first on follow, and of the next layer what of its feed-forward part
fits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hwprofiles import InputError
from hwprofiles.units import MIB
from sim.model.model import Model, TensorClass
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.overrides import EXPERTS, HOST, Override
from sim.runtimes.tensors import LayerTensor, TensorTable, tensors_of

ONLY_DOWN = r"\.ffn_down.*"
ALL_BUT_UP = r"\.ffn_(gate|gate_up|down).*"
ALL_OF_FEED_FORWARD = r"\.ffn_(gate|up|gate_up|down).*"
"""What of the first layer that does not fit stays on the host: LAYER_FRACTION_GATE, _UP and _ATTN.
They take the router and shared experts along where their names match.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitMemory:
    """Bytes of the one GPU that the fit divides: all that are free, and what KV cache and buffers
    take with every layer on it.
    """

    free_bytes: float
    kv_bytes: float
    compute_bytes: float


def fitted_arguments(
    model: Model,
    arguments: LlamaArguments,
    memory: FitMemory,
    tensors: TensorTable | None = None,
) -> LlamaArguments:
    """The arguments with what the fit chooses for one GPU.

    ik_llama.cpp fails where the dense parts do not fit. Which layers keep their experts there is
    not documented: the first are taken, as llama.cpp does.
    Raises InputError where it fails.
    """
    table = tensors or tensors_of(model)
    target = memory.free_bytes - arguments.fit_margin_mib * MIB - memory.compute_bytes
    all_layers = model.num_layers + 1
    experts = [_matching(layer, EXPERTS) for layer in table]
    dense = [_matching(layer, "") - own for layer, own in zip(table, experts, strict=True)]
    head = _head_bytes(model)
    left = target - memory.kv_bytes - head - sum(dense)
    if left >= sum(experts):
        return replace(arguments, gpu_layers=all_layers)
    if left <= 0 and arguments.is_ik:
        raise InputError(
            f"{arguments.runtime} --fit: attention and shared parts do not fit the GPU, so it fails"
        )
    if model.is_dense or left <= 0:
        per_layer = [size + memory.kv_bytes / model.num_layers for size in dense]
        count = _fitting(reversed(per_layer), target - head)
        kept = range(model.num_layers - count, model.num_layers)
        overrides = [_of_layer(layer, EXPERTS) for layer in kept if experts[layer]]
        return replace(arguments, gpu_layers=count + 1, placements=tuple(overrides))
    # After the first layer that does not fit, none is tried: a later, smaller one stays on the host.
    full = _fitting(iter(experts), left)
    boundary = _boundary(table[full], left - sum(experts[:full]))
    overrides = [_of_layer(full, boundary)]
    overrides += [
        _of_layer(layer, EXPERTS) for layer in range(full + 1, model.num_layers) if experts[layer]
    ]
    return replace(arguments, gpu_layers=all_layers, placements=tuple(overrides))


def check_single_gpu(arguments: LlamaArguments, num_gpus: int) -> None:
    """Raise InputError where the fit would have to share layers among several GPUs, which is not
    modelled.
    """
    if arguments.uses_fit and num_gpus > 1:
        raise InputError(
            f"{arguments.runtime} chooses by --fit among {num_gpus} GPUs, which is not modelled; state -ngl and -ot or -ncmoe"
        )


def _boundary(layer: tuple[LayerTensor, ...], left: float) -> str:
    """The pattern of what of a layer stays on the host, where so many bytes are left with its
    experts there.
    """
    experts = _matching(layer, EXPERTS)
    if experts - _matching(layer, ALL_BUT_UP) >= left:
        return ALL_OF_FEED_FORWARD
    return ONLY_DOWN if experts - _matching(layer, ONLY_DOWN) < left else ALL_BUT_UP


def _of_layer(layer: int, pattern: str) -> Override:
    return Override(pattern=rf"blk\.{layer}{pattern}", device=HOST)


def _matching(layer: tuple[LayerTensor, ...], pattern: str) -> int:
    rule = Override(pattern=pattern, device=HOST)
    return sum(tensor.num_bytes for tensor in layer if rule.finds(tensor.name))


def _fitting(sizes: Iterator[float], left: float) -> int:
    """How many sizes fit one after the other."""
    count = 0
    for size in sizes:
        left -= size
        if left < 0:
            break
        count += 1
    return count


def _head_bytes(model: Model) -> int:
    """Bytes of the output head, which is stored on the GPU a second time where it is tied."""
    own = TensorClass.EMBEDDING if model.is_head_tied else TensorClass.HEAD
    return model.top_bytes.get(own, 0)
