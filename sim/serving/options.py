"""How a serving engine is set up."""

from dataclasses import dataclass, fields

from hwprofiles import InputError
from sim.serving.link import TransferRate


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """One instance: how many GPUs it spans, what a step may hold, and its paged KV cache.

    ``max_step_tokens`` bounds the tokens of a step, prefill chunks and decoding sequences together;
    ``max_sequences`` those that run at once. KV comes in blocks of ``block_tokens``;
    ``gpu_memory_fraction`` of the GPUs' memory is used in all, and KV has what weights and
    activations leave of it, or room for ``kv_tokens``. ``all_reduce`` is one between the GPUs: a
    message of the bytes of the activations. ``captures_graphs``: kernels are launched as
    one graph, so that launches take no time of their own. ``step_overhead_ns`` is what the
    instance's own software adds to each step, beside what the machine states. ``max_leap_steps``
    bounds the steps taken at once (None: as many as are alike); it changes no result.
    """

    num_gpus: int = 1
    max_step_tokens: int = 8192
    max_sequences: int = 256
    block_tokens: int = 16
    has_prefix_cache: bool = True
    gpu_memory_fraction: float = 0.9
    captures_graphs: bool = True
    step_overhead_ns: float = 0.0
    kv_tokens: int | None = None
    all_reduce: TransferRate | None = None
    max_leap_steps: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise InputError(f"instance.{item.name} must be at least 1, got {value}")
        if not 0 < self.gpu_memory_fraction <= 1:
            raise InputError(
                f"instance.gpu_memory_fraction must be above 0 and at most 1, got {self.gpu_memory_fraction:g}"
            )
        # Else a step could not hold the one token that each decoding sequence must have.
        if self.max_step_tokens < self.max_sequences:
            raise InputError(
                f"instance.max_step_tokens must be at least instance.max_sequences (each decodes a token), got {self.max_step_tokens} < "
                f"{self.max_sequences}"
            )
