"""Arguments of llama.cpp and ik_llama.cpp, written as words of a command line.

Flags and variables are those of common/arg.cpp of llama.cpp at 0c1e57098 and of common/common.cpp
of ik_llama.cpp, August 2026.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from planner.export.runtime_command import figures
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.overrides import HOST, CpuExperts, Override

OFFLOAD_VARIABLE = "GGML_OP_OFFLOAD_MIN_BATCH"
"""The variable for the fewest tokens with which weights of the host are copied to a GPU."""

DEFAULTS = LlamaArguments(runtime="")

Flag = tuple[str, str | None]
"""A flag and its value, or None where the flag stands alone."""


def llama_words(arguments: LlamaArguments) -> tuple[str, ...]:
    """Return the arguments as words of a command line; read back, they mean the same."""
    return tuple(word for flag in llama_flags(arguments) for word in flag if word is not None)


def llama_environment(arguments: LlamaArguments) -> Mapping[str, str]:
    """Return the environment variables that the arguments need besides their words."""
    if arguments.offload_min_tokens is None:
        return {}
    return {OFFLOAD_VARIABLE: str(arguments.offload_min_tokens)}


def llama_flags(arguments: LlamaArguments) -> Iterator[Flag]:
    """Yield the flags of all that is not left to the program."""
    if arguments.gpu_layers is not None:
        yield "-ngl", str(arguments.gpu_layers)
    if arguments.tensor_split:
        yield "-ts", ",".join(map(figures, arguments.tensor_split))
    if arguments.devices is not None:
        yield "-dev", ",".join(map(buffer_name, arguments.devices)) or "none"
    yield from _placements(arguments)
    yield from _changed(arguments)
    if not arguments.is_op_offload:
        yield "--no-op-offload", None
    if arguments.offload_operations:
        yield "-op", ",".join(f"{name},{state}" for name, state in arguments.offload_operations)
    if not arguments.is_kv_offloaded:
        yield "-nkvo", None
    if arguments.is_flash_attention is not None:
        yield "-fa", "on" if arguments.is_flash_attention else "off"
    if arguments.is_ik and arguments.is_fit_asked:
        yield "--fit", None
    # llama.cpp fits unless told not to, and would change what the plan places.
    if not arguments.is_fitted and not arguments.is_ik:
        yield "--fit", "off"


def _placements(arguments: LlamaArguments) -> Iterator[Flag]:
    """Yield the placements in order, neighbouring overrides as one argument."""
    waiting: list[str] = []
    for item in arguments.placements:
        if isinstance(item, Override):
            waiting.append(f"{item.pattern}={buffer_name(item.device)}")
            continue
        # Order counts where patterns overlap, so what waits is written before the next argument.
        if waiting:
            yield "-ot", ",".join(waiting)
            waiting = []
        yield _cpu_experts(item)
    if waiting:
        yield "-ot", ",".join(waiting)


def _cpu_experts(item: CpuExperts) -> Flag:
    return ("-cmoe", None) if item.num_layers is None else ("-ncmoe", str(item.num_layers))


def buffer_name(device: int) -> str:
    """Return the name of a device's buffer: ``CPU`` for the host, ``CUDA0`` and so on for GPUs."""
    return "CPU" if device == HOST else f"CUDA{device}"


def _changed(arguments: LlamaArguments) -> Iterator[Flag]:
    """Yield the numbers and words that are not the program's defaults."""
    for flag, name in (
        ("-sm", "split_mode"),
        ("-mg", "main_gpu"),
        ("-b", "batch_tokens"),
        ("-ub", "micro_batch_tokens"),
        ("-t", "threads"),
        ("-tb", "batch_threads"),
        ("--numa", "numa"),
        ("-ctk", "key_type"),
        ("-ctv", "value_type"),
        ("-c", "context_tokens"),
        ("--moe-cache-mib", "expert_cache_mib"),
        ("-mla", "mla"),
        ("-amb", "attention_buffer_mib"),
    ):
        value: Any = getattr(arguments, name)
        if value != getattr(DEFAULTS, name):
            yield flag, str(value)
