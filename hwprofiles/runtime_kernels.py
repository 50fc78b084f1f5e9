"""The kernel laws of a runtime on a machine: what its kernels take, by format of the weights.

A law gives seconds from counted work: bytes of weights at a rate, and a time for each row of
results and each matrix. Nodes of the graph that are no product have a time each, too.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwprofiles.amounts import Count, Duration, Rate
from hwprofiles.formats import WEIGHT_FORMATS, check_words
from hwprofiles.quantity import Quantity, SourceText


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DecodeLaw(_Part):
    """Products of one token with weights of one format.

    ``row_ns`` is for each element of a result, ``matrix_ns`` for each matrix. An expert counts as
    three matrices.
    """

    bytes_per_s: Rate
    row_ns: Duration
    matrix_ns: Duration


class PromptLaw(_Part):
    """Multiplications a second of many tokens with weights of one format."""

    expert_products_per_s: Rate
    dense_products_per_s: Rate


class RuntimeKernels(_Part):
    """The kernel laws of one program on one device, with ``threads`` threads of the CPU.

    ``node_ns`` is for each node of the graph that decodes a token, ``layer_token_ns`` for each
    layer and token of a prompt. ``nodes_per_layer`` was counted in the program's log.
    ``prompt_tokens`` is the length of the prompts that were measured. ``crossing_ns`` is for each
    change between CPU and GPU, None where none was measured. ``decode_error`` and ``prompt_error``
    are the errors of the laws on a shape that they were not fitted on: the 80th percentile, as a
    fraction.
    """

    runtime: SourceText
    program: SourceText
    device: Literal["cpu", "gpu"]
    threads: Count
    decode: Annotated[dict[str, DecodeLaw], Field(min_length=1)]
    node_ns: Duration
    nodes_per_layer: Quantity
    decode_error: Quantity
    prompt: dict[str, PromptLaw] = {}
    layer_token_ns: Duration | None = None
    prompt_tokens: Count | None = None
    prompt_error: Quantity | None = None
    crossing_ns: Duration | None = None

    @model_validator(mode="after")
    def _formats_are_known(self) -> Self:
        check_words("weight format", {*self.decode, *self.prompt}, WEIGHT_FORMATS)
        return self

    @model_validator(mode="after")
    def _prompt_is_whole(self) -> Self:
        others = (self.layer_token_ns, self.prompt_tokens, self.prompt_error)
        if self.prompt and None in others:
            raise ValueError(
                "prompt needs layer_token_ns, prompt_tokens and prompt_error beside it"
            )
        return self
