"""Arguments of vLLM as words, and the command of its server (0.32)."""

from collections.abc import Iterator

from hwprofiles.units import GIB
from planner.export.runtime_command import command_form, command_reader, figures
from sim.runtimes.vllm.arguments import DEFAULT_CHUNK_TOKENS, EXPERTS, VllmArguments

PROGRAM = "vllm serve"


def vllm_words(arguments: VllmArguments) -> tuple[str, ...]:
    """Return the arguments as words of a command line; read back, they mean the same."""
    return tuple(word for flag in _flags(arguments) for word in flag)


def _flags(arguments: VllmArguments) -> Iterator[tuple[str, str]]:
    if arguments.context_tokens is not None:
        yield "--max-model-len", str(arguments.context_tokens)
    if arguments.memory_fraction is not None:
        yield "--gpu-memory-utilization", figures(arguments.memory_fraction)
    if arguments.offload_bytes:
        yield "--cpu-offload-gb", figures(arguments.offload_bytes / GIB)
        # Names of parameters mean nothing unless bytes are offloaded.
        if arguments.is_experts_alone:
            yield "--cpu-offload-params", EXPERTS
    if arguments.group_size:
        yield "--offload-group-size", str(arguments.group_size)
        yield "--offload-num-in-group", str(arguments.num_in_group)
        yield "--offload-prefetch-step", str(arguments.prefetch_step)
        if arguments.is_experts_alone:
            yield "--offload-params", EXPERTS
    if arguments.chunk_tokens != DEFAULT_CHUNK_TOKENS:
        yield "--max-num-batched-tokens", str(arguments.chunk_tokens)


FORMS = command_form(PROGRAM)
arguments_in = command_reader(PROGRAM, num_model_words=1)
