"""The options of an instance of a serving engine."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_BYTES, Devices, Tokens
from sim.serving.link import TransferRate
from sim.serving.numbers import Fraction, Latency, Sequences


class InstanceSpec(FilePart):
    """One instance: how many GPUs it spans, what a step may hold, and its paged KV cache.

    ``num_gpus`` left out means all that the machine has, shared out over the instances.
    ``max_step_tokens`` bounds the tokens of a step, prefill chunks and decoding sequences together.
    ``max_sequences`` bounds the sequences that run at once. KV comes in blocks of ``block_tokens``.
    ``gpu_memory_fraction`` of the GPUs' memory is used in all. KV has what weights and activations
    leave of it, or room for ``kv_tokens``. ``all_reduce`` is one all-reduce between the GPUs: a
    message of the bytes of the activations. With ``captures_graphs``, kernels are launched as one
    graph, so that launches take no time of their own. ``step_overhead_ns`` is what the instance's
    own software adds to each step, besides what the machine states.
    """

    num_gpus: Devices | None = None
    max_step_tokens: Tokens = 8192
    max_sequences: Sequences = 256
    block_tokens: Tokens = 16
    has_prefix_cache: bool = True
    gpu_memory_fraction: Fraction = 0.9
    captures_graphs: bool = True
    step_overhead_ns: Latency = 0.0
    kv_tokens: Annotated[int, Field(ge=1, le=MAX_BYTES, strict=True)] | None = None
    all_reduce: TransferRate | None = None

    @model_validator(mode="after")
    def _holds_a_token_each(self) -> Self:
        # Else a step could not hold the one token that each decoding sequence must have.
        if self.max_step_tokens < self.max_sequences:
            raise ValueError(
                f"max_step_tokens must be at least max_sequences (each decodes a token), got {self.max_step_tokens} < "
                f"{self.max_sequences}"
            )
        return self


class InstanceOptions(InstanceSpec):
    """An instance whose number of GPUs is settled.

    ``max_leap_steps`` bounds the steps taken at once (None: as many as are alike); it changes no
    result.
    """

    num_gpus: Devices = 1
    max_leap_steps: Annotated[int, Field(ge=1)] | None = None
