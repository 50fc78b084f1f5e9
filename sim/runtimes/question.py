"""A question to a runtime: which program runs which model, where, and after how many tokens."""

from dataclasses import dataclass
from enum import StrEnum

from sim.model.model import Model
from sim.runtimes.arguments import Arguments
from sim.runtimes.host import RuntimeHost
from sim.runtimes.tensors import TensorTable

NEWEST_BUILD = 10**9
"""Stands for a build that has every change made so far."""

DEFAULT_CONTEXT_TOKENS = 256
DEFAULT_PROMPT_TOKENS = 512


class PromptSide(StrEnum):
    """The side that computes experts of host memory for a prompt: the CPU, or a GPU by upload."""

    CPU = "cpu"
    UPLOAD = "upload"


@dataclass(frozen=True, kw_only=True)
class RuntimeQuestion:
    """All that is asked of a runtime.

    ``build`` is the number of the newest pull request that the program contains. ``quantization``
    is the public name of the file's format, which says what kernels run. ``prompt_side`` is None
    where the rules of the program decide. ``gpu_expert_layers`` puts the experts of that many last
    layers on GPUs; None leaves this to the arguments. ``tensors`` are those of the model's file;
    None stands for tensors with the bytes of their classes shared out.
    """

    runtime: str
    arguments: Arguments
    model: Model
    quantization: str
    host: RuntimeHost
    context_tokens: int = DEFAULT_CONTEXT_TOKENS
    prompt_tokens: int = DEFAULT_PROMPT_TOKENS
    prompt_context_tokens: int = 0
    build: int = NEWEST_BUILD
    prompt_side: PromptSide | None = None
    gpu_expert_layers: int | None = None
    tensors: TensorTable | None = None
