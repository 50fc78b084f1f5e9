"""Arguments of KTransformers as words, and the command of its server (sglang-kt 0.7.2)."""

from collections.abc import Iterator
from typing import Any

from planner.export.runtime_command import command_form, command_reader
from sim.runtimes.ktransformers.arguments import KtArguments

PROGRAM = "python -m sglang.launch_server"
DEFAULTS = KtArguments()

_FLAGS = (
    ("--kt-method", "method"),
    ("--kt-cpuinfer", "threads"),
    ("--kt-threadpool-count", "thread_pools"),
    ("--kt-gpu-experts-ratio", "gpu_experts_fraction"),
    ("--kt-expert-placement-strategy", "strategy"),
    ("--kt-max-deferred-experts-per-token", "deferred_experts"),
    ("--kt-gpu-prefill-token-threshold", "gpu_prefill_tokens"),
    ("--chunked-prefill-size", "chunk_tokens"),
    ("--context-length", "context_tokens"),
)


def kt_words(arguments: KtArguments) -> tuple[str, ...]:
    """Return the arguments as words of a command line; read back, they mean the same."""
    return tuple(word for flag in _changed(arguments) for word in flag)


def _changed(arguments: KtArguments) -> Iterator[tuple[str, str]]:
    """Yield the flags of all that is not the program's default.

    The number of experts on the GPU is always stated, as a count or as a fraction.
    """
    if arguments.gpu_experts_fraction is None:
        yield "--kt-num-gpu-experts", str(arguments.gpu_experts)
    for flag, name in _FLAGS:
        value: Any = getattr(arguments, name)
        if value != getattr(DEFAULTS, name):
            # The program takes names of methods in capitals.
            yield flag, value.upper() if name == "method" else str(value)
    if arguments.num_gpus_in_use > 1:
        yield "--tensor-parallel-size", str(arguments.num_gpus_in_use)


FORMS = command_form(PROGRAM)
arguments_in = command_reader(PROGRAM)
