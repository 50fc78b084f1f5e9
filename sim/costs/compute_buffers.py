"""GPU memory that a runtime sets aside for one pass: the compute buffers of a graph that is
allocated once, for its largest pass.

The terms are those of llama.cpp and ik_llama.cpp, whose graphs reuse one buffer from stage to
stage. So the largest stage counts, not the sum. ``benchmarks/published_memory.py`` compares them
with the bytes that those runtimes print.
"""

from hwprofiles.units import MIB
from sim.model.model import Attention, Model, TensorClass

FP32_BYTES = 4
FP16_BYTES = 2
"""Graphs compute in 32 bits. Attention masks, and keys and values that a graph expands, have 16
bits.
"""

MICRO_BATCH_TOKENS = 512
"""llama.cpp's and ik_llama.cpp's ``-ub`` where nobody sets it."""

LATENT_PIECE_BYTES = 512 * MIB
"""Size of the pieces in which keys and values are expanded from a latent cache: ``-amb 512``, as
published DeepSeek runs have it.
"""


def compute_buffer_bytes(model: Model, tokens: int, context_tokens: int, *, has_head: bool) -> int:
    """Return the bytes of one GPU's compute buffers for passes of at most ``tokens`` tokens over
    sequences of at most ``context_tokens``.

    They hold two copies of the hidden states and the largest of three stages. The stages are the
    logits of all tokens, where the GPU has the head; the feed-forward's results; and attention.
    """
    hidden_states = 2 * tokens * model.hidden * FP32_BYTES
    logits = tokens * model.vocab * FP32_BYTES if has_head else 0
    kinds = {layer.attention for layer in model.layers if layer.attention is not None}
    attention = max((_attention_bytes(kind, tokens, context_tokens) for kind in kinds), default=0)
    return hidden_states + max(logits, _feed_forward_bytes(model, tokens), attention)


def _feed_forward_bytes(model: Model, tokens: int) -> int:
    """Return the bytes of the widest feed-forward: gate and up products of the selected experts, or
    their results before and after they are weighted.
    """
    dense_width = max(layer.params.get(TensorClass.DENSE_FFN, 0) for layer in model.layers) // (
        3 * model.hidden
    )
    expert_width = model.top_k * max(model.hidden, model.expert_intermediate)
    return 2 * tokens * max(dense_width, expert_width) * FP32_BYTES


def _attention_bytes(attention: Attention, tokens: int, context_tokens: int) -> int:
    """Return the bytes of one layer's queries, in 32 bits, and masks, in 32 and in 16. Attention is
    fused, so no score matrix is kept.

    A prompt over a latent cache also has the keys and values of all heads expanded, in 16 bits.
    They are made of pieces in 32 bits, one piece at a time.
    """
    seen = context_tokens
    if attention.window_tokens is not None:
        # The first token of a pass looks back by a window, the last one too.
        seen = min(seen, attention.window_tokens + tokens)
    mask = tokens * seen * (FP32_BYTES + FP16_BYTES)
    expanded = seen * attention.expanded_elements
    query_elements = (
        attention.score_elements if tokens == 1 or not expanded else attention.expanded_elements
    )
    queries = tokens * query_elements * FP32_BYTES
    # A single token attends over the latent cache as it is.
    if tokens == 1:
        return queries + mask
    return queries + mask + expanded * FP16_BYTES + min(LATENT_PIECE_BYTES, expanded * FP32_BYTES)
