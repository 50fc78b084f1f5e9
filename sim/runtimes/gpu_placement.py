"""Placements on one GPU and the host: the host keeps some experts and perhaps whole layers."""

from collections.abc import Sequence

import numpy as np

from sim.model.model import Model, TensorClass
from sim.runtimes.placement import HOST, DevicePlacement, FloatArray


def placed_beside_gpu(
    model: Model,
    *,
    num_gpus: int,
    expert_on_host: Sequence[float] | FloatArray,
    dense_on_host: Sequence[bool] | None = None,
    num_crossings: int = 0,
    is_embedding_on_host: bool = False,
) -> DevicePlacement:
    """Return a placement with a share of each layer's experts on the host, the rest on GPU 0.

    ``expert_on_host`` and ``dense_on_host`` are by layer; ``dense_on_host`` says whether the
    layer's other weights are on the host too. The head is on the GPU. The input embedding is too,
    unless ``is_embedding_on_host``. A machine without a GPU has everything on the host.
    """
    gpu = 0 if num_gpus else HOST
    shares = np.where([layer.is_moe for layer in model.layers], np.asarray(expert_on_host), 0.0)
    kept = np.zeros(model.num_layers, bool) if dense_on_host is None else np.array(dense_on_host)
    dense = np.where(kept, HOST, gpu)
    sizes = np.array([layer.num_experts * layer.expert_bytes for layer in model.layers], float)
    others = np.array([layer.dense_bytes for layer in model.layers], float)
    fractions = np.zeros((model.num_layers, num_gpus + 1))
    fractions[:, 0] = shares if num_gpus else 1.0
    fractions[:, gpu + 1] += np.where(sizes > 0, 1 - fractions[:, 0], 0.0)
    fractions[sizes == 0] = 0.0
    weights = fractions.T @ sizes
    weights[0] += others[dense == HOST].sum()
    if gpu != HOST:
        weights[gpu + 1] += others[dense == gpu].sum()
    embedding = model.top_bytes.get(TensorClass.EMBEDDING, 0)
    weights[0 if is_embedding_on_host else gpu + 1] += embedding
    # A tied head is the embedding itself; a GPU without the embedding needs its own copy of it.
    tied = embedding if model.is_head_tied and is_embedding_on_host and gpu != HOST else 0
    weights[gpu + 1] += tied if model.is_head_tied else model.top_bytes.get(TensorClass.HEAD, 0)
    return DevicePlacement(
        attention=dense,
        kv=np.full(model.num_layers, gpu),
        dense=dense,
        expert_fraction=fractions,
        head=gpu,
        is_by_matrix=False,
        num_crossings=num_crossings,
        crossings_between_gpus=0,
        weight_bytes=weights,
    )
