"""Buffers in which llama.cpp and ik_llama.cpp compute a micro-batch.

One buffer is allocated for the largest micro-batch, and every stage of a layer uses it in turn. The
stages of llama.cpp are those of which llama-fit-params (0c1e57098) prints the sizes; tests compare
with it. ik_llama.cpp fuses more. It prints 144 MiB for 512 tokens of Qwen3-235B-A22B with room for
16,384 (its discussion 357). These are a mask of 16 MiB, and results of eight experts before and
after they are weighted.
"""

from sim.model.model import Layer, Model, TensorClass, layer_shapes
from sim.runtimes.graph_bytes import GraphBytes
from sim.runtimes.kv import cached_model
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.prompts import uploads_dense, uploads_experts
from sim.runtimes.placement import HOST, DevicePlacement
from sim.runtimes.question import RuntimeQuestion

FP32_BYTES = 4
FP16_BYTES = 2
PIPELINE_COPIES = 4
"""Copies of a graph's inputs where GPUs work on several micro-batches (GGML_SCHED_MAX_COPIES)."""

HANDED_OVER = 4
"""The most hidden states that a GPU has beside its own where layers are on several GPUs.

There are twice as many where GPUs work on several micro-batches.
"""

INDEX_BYTES = 28
"""Bytes of a token's other inputs (llama-graph.cpp).

Its number, its position, and whether its logits are wanted take four bytes each. The rows of the
cache for its keys and its values take eight each.
"""


def graph_bytes(
    question: RuntimeQuestion, placement: DevicePlacement, tokens: int, room_tokens: int
) -> GraphBytes:
    """Return the bytes of a micro-batch's stages, and of the inputs that last beside them.

    The KV cache has room for ``room_tokens``.
    """
    arguments = question.arguments
    assert isinstance(arguments, LlamaArguments)
    state = tokens * question.model.hidden * FP32_BYTES
    # Hidden states can be given in place of tokens, so llama.cpp has room for them among its inputs.
    given = 0 if arguments.is_ik else state
    indices = 0 if arguments.is_ik else tokens * INDEX_BYTES
    inputs = mask_bytes(question, tokens, room_tokens) + indices
    num_gpus = len({*placement.attention.tolist(), placement.head} - {HOST})
    handed_over = HANDED_OVER if num_gpus > 1 else 0
    copies = 1
    if is_pipelined(question, placement):
        handed_over, copies = 2 * HANDED_OVER, PIPELINE_COPIES
    computed = _host_feed_forward_bytes(question, placement, tokens, num_gpus)
    return GraphBytes(
        stage=layer_buffer_bytes(question, tokens, room_tokens, handed_over),
        inputs=copies * inputs,
        host_inputs=copies * (inputs + given),
        host_stage=max(2 * state - given, computed),
    )


def uploads_micro_batch(question: RuntimeQuestion, tokens: int) -> bool:
    """Whether experts in host memory are copied to a GPU for a micro-batch of that many tokens."""
    arguments = question.arguments
    assert isinstance(arguments, LlamaArguments)
    return uploads_experts(arguments, question.model, question.quantization, question.build, tokens)


def mask_bytes(question: RuntimeQuestion, tokens: int, room_tokens: int) -> int:
    """Return the bytes of the attention mask, which the host and each device with attention keep.

    For each kind of window it has a row a token of the micro-batch, and an entry a token of the
    cache. An entry has 16 bit, and 32 where attention is not fused (build_attn_inp_kq_mask of
    llama-graph.cpp).
    """
    arguments = question.arguments
    assert isinstance(arguments, LlamaArguments)
    element = FP32_BYTES if arguments.is_flash_attention is False else FP16_BYTES
    kinds = {
        (cache.window_tokens, cache.tokens_per_entry)
        for layer in _shapes(cached_model(question))
        for cache in layer.caches
    }
    entries = sum(_entries(kind, tokens, room_tokens) for kind in kinds)
    return tokens * entries * element


def layer_buffer_bytes(
    question: RuntimeQuestion, tokens: int, room_tokens: int, num_handed_over: int
) -> int:
    """Return the bytes of the widest stage of a layer, without its mask.

    A stage may hold gate and up products with their combination, or results of experts before and
    after they are weighted. Or it holds queries before and after rotation, with the scores of all
    heads where attention is not fused. In llama.cpp it also holds two copies of the hidden states,
    and those handed over between GPUs.
    """
    model = question.model
    arguments = question.arguments
    assert isinstance(arguments, LlamaArguments)
    # Without fused attention every head has its scores.
    scored = room_tokens if arguments.is_flash_attention is False else 0
    widest = max(
        max(
            _attention_elements(layer, scored),
            _feed_forward_elements(layer, model, is_fused=arguments.is_ik),
        )
        for layer in _shapes(model)
    )
    hidden_states = 0 if arguments.is_ik else 2 + num_handed_over
    return tokens * (hidden_states * model.hidden + widest) * FP32_BYTES


def _host_feed_forward_bytes(
    question: RuntimeQuestion, placement: DevicePlacement, tokens: int, num_gpus: int
) -> int:
    """Return the bytes of what the host computes where GPUs have the layers.

    The host computes experts and dense feed-forwards that it holds and no GPU copies. With several
    GPUs, hidden states wait on the host too.
    """
    model = question.model
    arguments = question.arguments
    assert isinstance(arguments, LlamaArguments)
    computes_experts = not uploads_micro_batch(question, tokens)
    computes_dense = not uploads_dense(arguments, tokens)
    representatives, shape_of = layer_shapes(model)
    has_experts = (placement.expert_fraction[:, HOST + 1] > 0) & computes_experts
    has_dense = (placement.dense == HOST) & computes_dense
    widest = 0
    # Layers of one shape with as much on the host need as much.
    for shape, is_with_experts, is_with_dense in set(
        zip(shape_of.tolist(), has_experts.tolist(), has_dense.tolist(), strict=True)
    ):
        layer = model.layers[representatives[shape]]
        if is_with_experts:
            widest = max(widest, _host_expert_elements(model, layer, num_gpus))
        if is_with_dense:
            widest = max(widest, 3 * _dense_width(layer, model))
    if widest == 0:
        return 0
    handed_over = model.hidden if num_gpus > 1 else 0
    return tokens * (widest + handed_over) * FP32_BYTES


def _host_expert_elements(model: Model, layer: Layer, num_gpus: int) -> int:
    """Return the elements for one token of a layer's experts on the host.

    They are gate and up products with their combination, or hidden states with results of experts
    before and after they are weighted. With several GPUs, scores of experts wait there too.
    """
    gated = 3 * layer.top_k * model.expert_intermediate
    summed = (1 + 2 * layer.top_k) * model.hidden
    return max(gated, summed) + (layer.num_experts if num_gpus > 1 else 0)


def _dense_width(layer: Layer, model: Model) -> int:
    """Return the width of a layer's dense feed-forward, or of its shared experts; 0 for none."""
    params = max(
        layer.params.get(TensorClass.DENSE_FFN, 0), layer.params.get(TensorClass.SHARED_EXPERT, 0)
    )
    return params // (3 * model.hidden)


def is_pipelined(question: RuntimeQuestion, placement: DevicePlacement) -> bool:
    """Whether several GPUs work on several micro-batches at once: where they have all layers, and
    nothing overrides a placement (llama_context of llama.cpp, pipeline_parallel).
    """
    arguments = question.arguments
    assert isinstance(arguments, LlamaArguments)
    homes = {*placement.attention.tolist(), placement.head}
    return len(homes) > 1 and min(homes) >= 0 and not arguments.is_ik and not arguments.placements


def _shapes(model: Model) -> tuple[Layer, ...]:
    """One layer of each shape: a search asks for buffers of hundreds of arguments."""
    return tuple(model.layers[index] for index in layer_shapes(model)[0])


def _entries(kind: tuple[int | None, int], tokens: int, room_tokens: int) -> int:
    window_tokens, tokens_per_entry = kind
    seen = room_tokens if window_tokens is None else min(room_tokens, window_tokens + tokens)
    return seen // tokens_per_entry


def _attention_elements(layer: Layer, scored_tokens: int) -> int:
    attention = layer.attention
    if attention is None:
        return 0
    return 2 * attention.value_elements + attention.num_heads * scored_tokens


def _feed_forward_elements(layer: Layer, model: Model, *, is_fused: bool) -> int:
    """Return the elements of the feed-forward for one token.

    Where ``is_fused``, only the combination of gate and up is kept, not the two products.
    """
    queries = 0 if layer.attention is None else layer.attention.value_elements
    if not layer.is_moe:
        return 3 * _dense_width(layer, model) + queries
    chosen = layer.top_k * model.expert_intermediate
    results = 2 * layer.top_k * model.hidden
    return max(results, chosen) if is_fused else max(results + chosen, 3 * chosen + queries)
