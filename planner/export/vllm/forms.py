"""Arguments of vLLM as words, and the command of its server (0.32)."""

import shlex
from collections.abc import Callable, Iterator, Mapping

from hwprofiles.units import GIB
from planner.export.runtime_command import RuntimeCommand
from sim.runtimes.vllm.arguments import DEFAULT_CHUNK_TOKENS, EXPERTS, VllmArguments

PROGRAM = "vllm serve"


def vllm_words(arguments: VllmArguments) -> tuple[str, ...]:
    """Return the arguments as words of a command line; read back, they mean the same."""
    return tuple(word for flag in _flags(arguments) for word in flag)


def _flags(arguments: VllmArguments) -> Iterator[tuple[str, str]]:
    if arguments.context_tokens is not None:
        yield "--max-model-len", str(arguments.context_tokens)
    if arguments.memory_fraction is not None:
        yield "--gpu-memory-utilization", f"{arguments.memory_fraction:g}"
    if arguments.offload_bytes:
        yield "--cpu-offload-gb", f"{arguments.offload_bytes / GIB:g}"
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


def args_text(command: RuntimeCommand) -> str:
    """Return the command of the server, ready to paste."""
    return command.line(PROGRAM) + "\n"


FORMS: Mapping[str, Callable[[RuntimeCommand], str]] = {"args": args_text}
"""How each form of vLLM is written."""


def arguments_in(form: str, text: str) -> str:
    """Return the line of arguments that a text of that form stands for, without the model's name."""
    assert form in FORMS
    return shlex.join(shlex.split(text.replace(PROGRAM, "", 1))[1:])
