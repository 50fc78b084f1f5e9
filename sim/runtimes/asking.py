"""What a user asks: the name of a runtime and a line of its arguments, with notes on the answer."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from hwprofiles import InputError, unknown_name
from hwprofiles.units import format_bytes
from sim.runtimes.accelerate.arguments import ACCELERATE, AccelerateArguments, read_device_map
from sim.runtimes.arguments import Arguments
from sim.runtimes.caching.locality import locality_of
from sim.runtimes.disk import unread_bytes
from sim.runtimes.exllamav3.arguments import EXLLAMAV3, Exl3Arguments, read_exl3_arguments
from sim.runtimes.features import cores_in_use
from sim.runtimes.flags import one_of
from sim.runtimes.ktransformers.arguments import KTRANSFORMERS, KtArguments, read_kt_arguments
from sim.runtimes.llama_cpp.arguments import (
    IK_LLAMA_CPP,
    KV_TYPES,
    LLAMA_CPP,
    TENSOR,
    LlamaArguments,
    read_llama_arguments,
)
from sim.runtimes.placing import placement_of
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.sockets import SocketUse, socket_use
from sim.runtimes.vllm.arguments import VLLM, VllmArguments, read_vllm_arguments

EXPERT_CACHE_BUILD = "b11549"
"""The first published build that was seen to have --moe-cache-mib: xllamacpp 2026.10.11549."""

SPLIT_NOTES: Mapping[str, tuple[str, ...]] = {
    "row": (
        "llama.cpp for CUDA refuses -sm row since b9890 (pull request 24216): -sm tensor took its "
        "place; older builds are priced",
    ),
    TENSOR: (
        "-sm tensor is experimental in llama.cpp: some architectures are refused (OLMoE, MiniMax-M2, "
        "Nemotron-H and others), and no published row of it was fitted",
    ),
}
"""Notes on ways to split matrices, by split mode."""

_PROMPTS_ON_CPU = (
    "with -sm tensor no weights are copied for prompts: the CPU computes experts in host memory"
)

_BY_SYSTEM = (
    "the system places threads and pages on the sockets; machines differ in what that costs"
)
_SOCKETS_SHARED = {
    LLAMA_CPP: (f"without --numa {_BY_SYSTEM}",),
    IK_LLAMA_CPP: (f"without --numa {_BY_SYSTEM}",),
    KTRANSFORMERS: (f"without USE_NUMA=1, as the program is built by default, {_BY_SYSTEM}",),
}
"""Notes by runtime for several sockets on which no argument places threads."""

READERS: Mapping[str, Callable[[str], Arguments]] = {
    LLAMA_CPP: lambda line: read_llama_arguments(line, LLAMA_CPP),
    IK_LLAMA_CPP: lambda line: read_llama_arguments(line, IK_LLAMA_CPP),
    KTRANSFORMERS: read_kt_arguments,
    VLLM: read_vllm_arguments,
    ACCELERATE: read_device_map,
    EXLLAMAV3: read_exl3_arguments,
}
"""The function that reads each runtime's arguments, by the runtime's name."""


def read_runtime_arguments(runtime: str, line: str) -> Arguments:
    """Read a line of arguments of that runtime.

    Raises InputError for an unknown runtime, and as its reader does.
    """
    if runtime not in READERS:
        raise unknown_name("runtime", runtime, READERS)
    return READERS[runtime](line)


def with_kv_type(arguments: Arguments, kv_type: str) -> Arguments:
    """Return the arguments with that type of keys and values.

    Raises InputError for an unknown type, and for a runtime that takes none.
    """
    if not isinstance(arguments, LlamaArguments):
        raise InputError(f"kv type {kv_type}: only llama.cpp and ik_llama.cpp are told one")
    try:
        name = one_of(*KV_TYPES)(kv_type)
    except ValueError as error:
        raise InputError(f"kv type {kv_type}: {error}") from None
    return replace(arguments, key_type=name, value_type=name)


def notes_on(question: RuntimeQuestion) -> tuple[str, ...]:
    """Return notes on the machine and the arguments that a reader of the prediction needs.

    They name weights without room, arguments that change nothing, and arguments that are priced
    roughly.
    """
    arguments = question.arguments
    said = _room_notes(question)
    cores = question.host.cores_per_socket * question.host.sockets
    # Said, not refused: people do run so, and second threads of a core add nothing in the price.
    if (arguments.threads or 0) > cores:
        said.append(
            f"{arguments.threads} threads on {cores} cores are priced as {cores}; published runs of that kind are slower"
        )
    said += _unused_laws(question)
    if socket_use(question, arguments.threads) is SocketUse.SHARED:
        said.extend(_SOCKETS_SHARED.get(question.runtime, ()))
    if arguments.ignored:
        said.append(f"these arguments change no prediction: {' '.join(arguments.ignored)}")
    if isinstance(arguments, LlamaArguments):
        said.extend(_split_notes(question, arguments))
        if arguments.expert_cache_mib:
            said.append(f"llama.cpp has --moe-cache-mib since {EXPERT_CACHE_BUILD}")
            said.append(
                f"--moe-cache-mib: how often it misses: {locality_of(question.model.name).source}"
            )
        if not question.host.gpus and arguments.placements:
            said.append("the machine has no GPU, so overrides of placement change nothing")
        return tuple(said)
    if isinstance(arguments, KtArguments):
        return (*said, *_kt_notes(question, arguments))
    return (*said, *_borrowed_notes(arguments))


def _split_notes(question: RuntimeQuestion, arguments: LlamaArguments) -> tuple[str, ...]:
    """Return notes on the way in which the arguments split matrices over several GPUs."""
    if len(question.host.gpus) < 2:
        return ()
    said = SPLIT_NOTES.get(arguments.split_mode, ())
    if arguments.split_mode == TENSOR and placement_of(question).expert_fraction[:, 0].any():
        return (*said, _PROMPTS_ON_CPU)
    return said


def _unused_laws(question: RuntimeQuestion) -> list[str]:
    """Return a note if laws were measured on the machine, but only for other numbers of threads."""
    used = question.arguments.threads or int(cores_in_use(question.host, None))
    counts = {
        laws.threads
        for laws in question.host.runtime_kernels
        if laws.runtime == question.runtime and laws.device == "cpu"
    }
    if not counts or used in counts:
        return []
    measured = ", ".join(map(str, sorted(counts)))
    return [
        f"the machine file has laws of {question.runtime} for {measured} threads, and {used} are used: "
        "prices are those of published rows of other machines, until "
        f"{question.runtime} is measured with {used} threads"
    ]


def _room_notes(question: RuntimeQuestion) -> list[str]:
    """Return a note if host memory is too small for its weights and no disk is stated."""
    short = unread_bytes(question, placement_of(question))
    if not short:
        return []
    return [
        f"host memory is {format_bytes(short)} too small for the weights that stay on the host, and the "
        "machine states no disk to read them from: both speeds are those of enough memory, and with "
        "less a token waits for the disk; state memory that holds them, or `disk` in a machine file"
    ]


def _kt_notes(question: RuntimeQuestion, arguments: KtArguments) -> list[str]:
    said = []
    if arguments.deferred_experts:
        said.append(
            "deferred experts are priced as if they were waited for; deferral makes decoding faster"
        )
    if arguments.strategy != "uniform":
        said.append(
            f"strategy {arguments.strategy} is priced as uniform: which experts are popular is not known"
        )
    if len(question.host.gpus) > 1:
        said.append("tensors split over several GPUs are priced on one")
    return said


BORROWED = (
    "no published speeds of this program were fitted: its prices are those of llama.cpp's rows, with "
    "its own placement and copies"
)


def _borrowed_notes(
    arguments: VllmArguments | AccelerateArguments | Exl3Arguments,
) -> list[str]:
    """Return notes on programs whose speeds were not fitted."""
    if isinstance(arguments, VllmArguments):
        return [
            BORROWED,
            "kernels are taken to read a weight in host memory once a chunk of tokens",
        ]
    if isinstance(arguments, AccelerateArguments):
        return [BORROWED, "Python takes 1.2 ms a layer, measured with tiny weights on one computer"]
    said = [BORROWED]
    if arguments.split_experts:
        said.append(
            "the CPU's experts are priced as if the GPU waited for them; -mcs overlaps both"
        )
    return said
