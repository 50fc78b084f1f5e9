"""Arguments of vLLM (0.32, vllm/config/offload.py and model_executor/offloader)."""

from dataclasses import dataclass

from hwprofiles import InputError
from hwprofiles.units import GIB
from sim.runtimes.flags import (
    Arity,
    Effect,
    Flag,
    FlagTable,
    count,
    decimal,
    flag_table,
    one_of,
    positive,
    read_arguments,
)

VLLM = "vllm"
EXPERTS = "experts"
DEFAULT_CHUNK_TOKENS = 2048
"""Tokens of a prompt that are computed at once, vLLM's default for one user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmArguments:
    """Arguments of vLLM that place or price.

    There are two ways to leave weights in host memory. In the first, ``offload_bytes`` of weights
    stay in pinned memory, and the GPU's kernels read them over the link. In the second, the last
    ``num_in_group`` of every ``group_size`` layers stay there (``group_size`` 0: none). Each pass
    copies these layers, ``prefetch_step`` of them ahead. With ``is_experts_alone``, either way
    takes routed experts alone. ``memory_fraction`` of the GPU's memory is what vLLM may take, 0.9
    unless stated; predictions do not depend on it.
    """

    offload_bytes: float = 0.0
    is_experts_alone: bool = False
    group_size: int = 0
    num_in_group: int = 1
    prefetch_step: int = 1
    memory_fraction: float | None = None
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS
    context_tokens: int | None = None
    threads: int | None = None
    experts_per_token: int | None = None
    ignored: tuple[str, ...] = ()


def read_vllm_arguments(line: str) -> VllmArguments:
    """Read a line of arguments.

    Raises InputError, one line, for an argument that is unknown, refused or malformed.
    """
    read = read_arguments(line, TABLE)
    arguments = VllmArguments(ignored=read.ignored, **read.values)
    if arguments.group_size and arguments.offload_bytes:
        raise InputError(
            "--cpu-offload-gb and --offload-group-size are two ways to leave weights in host "
            "memory: state one"
        )
    if arguments.group_size and arguments.num_in_group > arguments.group_size:
        raise InputError(
            f"--offload-num-in-group must be at most --offload-group-size, "
            f"got {arguments.num_in_group} > {arguments.group_size}"
        )
    return arguments


def _gibibytes(text: str) -> float:
    try:
        size = decimal(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e6:
        raise ValueError("a number of GiB of at least 0 is needed")
    return size * GIB


def _fraction(text: str) -> float:
    try:
        share = decimal(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError("a share above 0 and of at most 1 is needed")
    return share


def _parameters(text: str) -> bool:
    if text != EXPERTS:
        raise ValueError(f"only {EXPERTS} is known: which bytes other names stand for is not")
    return True


_FLAGS = (
    Flag(names=("--cpu-offload-gb",), key="offload_bytes", read=_gibibytes),
    Flag(names=("--gpu-memory-utilization",), key="memory_fraction", read=_fraction),
    Flag(names=("--cpu-offload-params",), key="is_experts_alone", read=_parameters),
    Flag(names=("--max-num-batched-tokens",), key="chunk_tokens", read=positive),
    Flag(names=("--max-model-len",), key="context_tokens", read=positive),
    Flag(names=("--offload-params",), key="is_experts_alone", read=_parameters),
    Flag(names=("--offload-group-size",), key="group_size", read=count),
    Flag(names=("--offload-num-in-group",), key="num_in_group", read=positive),
    Flag(names=("--offload-prefetch-step",), key="prefetch_step", read=positive),
    Flag(
        names=("--offload-backend",),
        effect=Effect.IGNORED,
        read=one_of("auto", "uva", "prefetch"),
    ),
    *(
        Flag(names=(name,), effect=Effect.IGNORED)
        for name in ("--model", "--max-num-seqs", "--port", "--host")
    ),
    Flag(names=("--trust-remote-code",), effect=Effect.IGNORED, arity=Arity.SWITCH),
    Flag(
        names=("--tensor-parallel-size", "-tp", "--enforce-eager"),
        effect=Effect.REFUSED,
        reason="it changes kernels in ways that are not modelled",
    ),
)

TABLE: FlagTable = flag_table(VLLM, _FLAGS, {})
"""The flags of vLLM."""
