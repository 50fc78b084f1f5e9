"""Matrices split by rows over the GPUs (llama.cpp's -sm row).

Each GPU reads its own rows. The main GPU runs everything else: it sends a matrix's input to the
others and collects their rows (ggml-cuda.cu, ggml_cuda_op_mul_mat, at 0c1e57098). Routed experts
are not split.
"""

from dataclasses import replace

import numpy as np

from sim.model.model import Model
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.tensors import EXPERT_PARTS, tensors_of
from sim.runtimes.work import StepWork

PASSES = 2
"""Changes of device for each matrix and further GPU: its input goes out, its rows come back."""


def row_shares(question: RuntimeQuestion) -> np.ndarray | None:
    """Each GPU's share of the rows; None where nothing is split by rows."""
    arguments = question.arguments
    gpus = question.host.gpus
    if not isinstance(arguments, LlamaArguments) or arguments.split_mode != "row":
        return None
    if len(gpus) < 2:
        return None
    # By memory where nothing is stated, as layers are split too.
    stated = arguments.tensor_split[: len(gpus)] or tuple(gpu.memory_bytes for gpu in gpus)
    shares = np.array(stated + (0.0,) * (len(gpus) - len(stated)))
    return np.asarray(shares / shares.sum(), float)


def with_rows_placed(question: RuntimeQuestion, placement: DevicePlacement) -> DevicePlacement:
    """The placement with the bytes of split matrices on the GPUs that hold their rows."""
    shares = row_shares(question)
    if shares is None:
        return placement
    main = _main(question)
    moved = _split_bytes(question.model, placement, main)
    weights = placement.weight_bytes.copy()
    weights[main + 1] -= moved
    weights[1:] += shares * moved
    return replace(placement, weight_bytes=weights)


def with_rows_worked(
    question: RuntimeQuestion, placement: DevicePlacement, work: StepWork, num_tokens: int
) -> StepWork:
    """Return the work of one pass in which all GPUs compute every split matrix at once."""
    shares = row_shares(question)
    if shares is None:
        return work
    gpus = question.host.gpus
    main = _main(question)
    read = _split_bytes(question.model, placement, main)
    operations = 2.0 * num_tokens * _split_params(question.model, placement, main)
    # All GPUs start a matrix together and the next waits for the last of them.
    reading = max(share * read / gpu.bytes_per_s for share, gpu in zip(shares, gpus, strict=True))
    computing = max(
        share * operations / gpu.flops_per_s for share, gpu in zip(shares, gpus, strict=True)
    )
    # GPUs without a share take no part in the exchange.
    num_others = int(np.count_nonzero(shares)) - bool(shares[main])
    passes = PASSES * num_others * _num_matrices(question.model, placement, main)
    return replace(
        work,
        gpu_read_s=work.gpu_read_s - read / gpus[main].bytes_per_s + reading,
        gpu_matrix_s=work.gpu_matrix_s - operations / gpus[main].flops_per_s + computing,
        gpu_crossings=work.gpu_crossings + passes,
    )


def _main(question: RuntimeQuestion) -> int:
    arguments = question.arguments
    assert isinstance(arguments, LlamaArguments)
    chosen = arguments.devices
    return arguments.main_gpu if chosen is None else chosen[arguments.main_gpu]


def _split_bytes(model: Model, placement: DevicePlacement, main: int) -> float:
    """Bytes of the matrices beside routed experts that lie on the main GPU."""
    here = placement.dense == main
    dense = sum(layer.dense_bytes for layer, is_in in zip(model.layers, here, strict=True) if is_in)
    head = model.top_bytes.get(model.head_class, 0) if placement.head == main else 0
    return float(dense + head)


def _split_params(model: Model, placement: DevicePlacement, main: int) -> float:
    here = placement.dense == main
    dense = sum(
        layer.dense_params for layer, is_in in zip(model.layers, here, strict=True) if is_in
    )
    head = model.top_params.get(model.head_class, 0) if placement.head == main else 0
    return float(dense + head)


def _num_matrices(model: Model, placement: DevicePlacement, main: int) -> int:
    """Return how many matrices are split; norms and routers are not."""
    found = sum(
        tensor.part not in EXPERT_PARTS and "norm" not in tensor.name and "inp" not in tensor.name
        for tensors, device in zip(tensors_of(model), placement.dense, strict=True)
        if device == main
        for tensor in tensors
    )
    return found + int(placement.head == main)
