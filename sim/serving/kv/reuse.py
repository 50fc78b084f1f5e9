"""Whether loading a prefix's KV is faster than computing it, for a model and a machine, without
queues.

Computing counts matrix work only, spread evenly over the machine's GPUs. Communication between
GPUs, launches and reads of weights are left out. Short prompts therefore compute slower in reality
than here, and loading their KV pays sooner.
"""

from dataclasses import dataclass

from hwprofiles import Machine
from hwprofiles.units import NS_PER_S
from sim.costs.roofline import FLOPS_PER_STATE_ELEMENT, FLOPS_PER_WEIGHT
from sim.model.model import Model, TensorClass

ATTENTION_COEFFICIENT = 4
"""a in Mooncake's criterion: FLOPs of attention per token, context token and hidden dimension."""

WEIGHTS_COEFFICIENT = 22
"""b in Mooncake's criterion: FLOPs of a layer's weights per token and squared hidden dimension."""

LONGEST_TOKENS = 2**24
"""The longest prefix in tokens that the search for a crossover tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """The matrix throughput in FLOP/s that computes a prompt, of all GPUs together."""

    flops_per_s: float

    @classmethod
    def of(cls, machine: Machine, dtype: str = "bf16", *, is_peak: bool = False) -> "Compute":
        """Return the throughput of all GPUs of a machine at one compute type.

        ``is_peak`` takes the datasheet's figure, without the efficiency. Raises KeyError for a
        dtype that the machine states no rate for.
        """
        rate = machine.gpu.flops_per_s[dtype]
        return cls(flops_per_s=machine.gpu.count * (rate.value if is_peak else rate.effective))

    def prefill_ns(self, model: Model, tokens: int) -> float:
        """Time in ns to compute a prompt of that many tokens."""
        return prefill_flops(model, tokens) * NS_PER_S / self.flops_per_s


def prefill_flops(model: Model, tokens: int) -> float:
    """FLOPs of computing a prompt of that many tokens from its first token on.

    Every active weight but embedding and head counts, and causal attention within its windows.
    """
    outside = sum(
        model.top_params.get(part, 0) for part in (TensorClass.EMBEDDING, TensorClass.HEAD)
    )
    weights = FLOPS_PER_WEIGHT * (model.active_params - outside) * tokens
    attention = 0.0
    for layer in model.layers:
        for cache in layer.caches:
            elements = cache.pair_elements / cache.tokens_per_entry
            attention += FLOPS_PER_WEIGHT * elements * _causal_pairs(tokens, cache.looks_at_tokens)
        attention += FLOPS_PER_STATE_ELEMENT * layer.state_elements * tokens
    return weights + attention


def mooncake_bytes_per_s(model: Model, prefix_tokens: int, compute: Compute) -> float:
    """The least rate in bytes/s at which loading a prefix beats computing it, by Mooncake's
    criterion (FAST 2025, section 5.2).

    The criterion is B / G > 2·d·s / (gqa·(a·p·d + b·d²)). B is the rate and G the throughput, which
    the paper takes at the peak of the datasheet. d is the hidden dimension, s the bytes per
    element, gqa the heads per KV head, and p the prefix. a and b are the paper's, for Llama-like
    layers; ``least_bytes_per_s`` counts the model's own.
    """
    hidden = model.hidden
    kv_elements = sum(cache.elements / cache.tokens_per_entry for cache in model.layers[0].caches)
    flops = ATTENTION_COEFFICIENT * prefix_tokens * hidden + WEIGHTS_COEFFICIENT * hidden**2
    # The paper's 2·d·s / gqa is the KV of a token and layer, stated here as the model has it.
    return compute.flops_per_s * kv_elements * model.kv_element_bytes / flops


def least_bytes_per_s(model: Model, prefix_tokens: int, compute: Compute) -> float:
    """The least rate in bytes/s at which loading a prefix beats computing it, with the model's own
    weights and attention.
    """
    return model.kv_bytes(prefix_tokens) * NS_PER_S / compute.prefill_ns(model, prefix_tokens)


def crossover_tokens(model: Model, compute: Compute, bytes_per_s: float) -> int | None:
    """The shortest prefix in tokens that is loaded faster than it is computed; None where no prefix
    of up to LONGEST_TOKENS is.

    A later token has at most as many bytes of KV, and takes longer to compute. So loading wins for
    every prefix beyond the crossover.
    """

    def _is_loaded_faster(tokens: int) -> bool:
        return model.kv_bytes(tokens) * NS_PER_S / bytes_per_s < compute.prefill_ns(model, tokens)

    if not _is_loaded_faster(LONGEST_TOKENS):
        return None
    # Loading's share falls as prefixes get longer (see above), so the border is found by halving.
    low = 0
    high = LONGEST_TOKENS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_loaded_faster(middle) else (middle, high)
    return high


def _causal_pairs(tokens: int, window_tokens: int | None) -> float:
    """The number of query-key pairs of a prompt, where a token's pair with itself counts as half.

    The number is tokens²/2, less the pairs outside the window.
    """
    outside = 0 if window_tokens is None else max(0, tokens - window_tokens)
    return (tokens**2 - outside**2) / 2
