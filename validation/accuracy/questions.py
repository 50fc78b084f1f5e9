"""Turn a measured row into a question for the model of runtimes, or into a reason why not."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hwprofiles import InputError, machine_names, names_machine_file
from hwprofiles.parts import comes_with_memory
from sim.memo import remembered
from sim.model.library import load_model
from sim.model.model import Model
from sim.runtimes.bytes import read_bytes_per_weight, with_bytes_per_weight
from sim.runtimes.host import RuntimeHost, Vector
from sim.runtimes.ktransformers.arguments import KTRANSFORMERS, KtArguments, read_kt_arguments
from sim.runtimes.llama_cpp.arguments import (
    IK_LLAMA_CPP,
    LLAMA_CPP,
    LlamaArguments,
    read_llama_arguments,
)
from sim.runtimes.model_files import load_model_for
from sim.runtimes.question import (
    DEFAULT_CONTEXT_TOKENS,
    DEFAULT_PROMPT_TOKENS,
    PromptSide,
    RuntimeQuestion,
)
from validation.accuracy.builds import build_of
from validation.accuracy.rows import MeasuredRow

RUNTIMES = (LLAMA_CPP, IK_LLAMA_CPP, KTRANSFORMERS)
MOST_MODELS = 256
HostOf = Callable[[str], RuntimeHost]
"""Function from a line of parts to its machine. Raises InputError for a line that is not
understood.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRow:
    """A row with its question, or with the reason why there is none.

    ``is_incomplete`` means that the source leaves out flags.
    """

    row: MeasuredRow
    question: RuntimeQuestion | None
    reason: str | None
    is_incomplete: bool = False


def ask(row: MeasuredRow, host_of: HostOf) -> AskedRow:
    """Return a row with its question. A row that cannot be expressed gets a reason, never an
    error.
    """
    try:
        question = _question(row, host_of)
    except InputError as error:
        # The list of right names helps a person who types; a table of rows has no room for it.
        return AskedRow(row=row, question=None, reason=str(error).partition("; known: ")[0])
    return AskedRow(row=row, question=question, reason=None, is_incomplete=leaves_flags_out(row))


def leaves_flags_out(row: MeasuredRow) -> bool:
    """Whether the note says that flags are not stated, so that the arguments are incomplete."""
    return re.search(r"flags( than \S+)? not stated", row.note) is not None


def _question(row: MeasuredRow, host_of: HostOf) -> RuntimeQuestion:
    if row.runtime not in RUNTIMES:
        raise InputError(f"runtime {row.runtime}: not modelled; modelled: {', '.join(RUNTIMES)}")
    if row.batch is not None and row.batch > 1:
        raise InputError(f"batch {row.batch:g}: one sequence at a time is predicted")
    host = _host(row, host_of)
    reader = read_kt_arguments if row.runtime == KTRANSFORMERS else None
    arguments = reader(row.args) if reader else read_llama_arguments(row.args, row.runtime)
    # Without a GPU llama.cpp has nothing to place, and its arguments may name one all the same.
    if isinstance(arguments, LlamaArguments) and not host.gpus:
        # Without a GPU all tensors stay on the CPU, whatever the flags say of places.
        arguments = replace(arguments, placements=())
    if isinstance(arguments, KtArguments) and _is_of_own_documents(row):
        arguments = replace(arguments, copies_experts=arguments.is_local_chat and host.sockets > 1)
    return RuntimeQuestion(
        runtime=row.runtime,
        arguments=arguments,
        model=model_of(row.runtime, row.model, row.quantization, row.bytes_per_weight),
        quantization=row.quantization,
        host=host,
        context_tokens=_tokens(row.decode_context_tokens, DEFAULT_CONTEXT_TOKENS),
        # Rows of decoding alone may state a prompt of 0 tokens, which no step has.
        prompt_tokens=max(1, _tokens(row.prompt_tokens, DEFAULT_PROMPT_TOKENS)),
        prompt_context_tokens=_tokens(row.context_tokens, 0),
        build=build_of(row),
        prompt_side=_stated_side(row.mechanism),
        gpu_expert_layers=None if row.gpu_expert_layers is None else int(row.gpu_expert_layers),
    )


def _is_of_own_documents(row: MeasuredRow) -> bool:
    """Whether the row is from KTransformers' own documents.

    These build with USE_NUMA for two sockets (DeepseekR1_V3_tutorial.md, "Dual socket version").
    """
    return re.search(r"/ktransformers/blob/[^/]+/doc/", row.source) is not None


def _host(row: MeasuredRow, host_of: HostOf) -> RuntimeHost:
    """Return the row's machine with its probe. Raises InputError if neither memory nor probe is
    stated.
    """
    host = probed_host(row.machine, read_probes(row.probe), host_of)
    if "without VNNI" in row.assumed:
        host = replace(host, vector=Vector.AVX512)
    # A guessed rate of memory would count as an error of the prices.
    if host.probe_bytes_per_s is None and not _states_memory(row.machine):
        raise InputError(f"machine {row.machine}: neither its memory nor a probe of it is stated")
    return host


def probed_host(machine: str, probes: Mapping[str, float], host_of: HostOf) -> RuntimeHost:
    """Return the machine of a line of parts, with the rates that were measured on it."""
    host = host_of(machine)
    if "h2d" in probes:
        gpus = tuple(replace(gpu, link_bytes_per_s=probes["h2d"]) for gpu in host.gpus)
        host = replace(host, gpus=gpus)
    if "dram" not in probes:
        return host
    host = replace(host, probe_bytes_per_s=probes["dram"], is_probe_assumed=False)
    # The memory that is usual with a CPU says nothing beside a probe.
    return host if _states_memory(machine) else replace(host, dram_bytes_per_s=None)


def _states_memory(machine: str) -> bool:
    """Whether the machine's memory is stated, not guessed: by a machine file, by name, or by its
    chip.
    """
    if machine in machine_names() or names_machine_file(machine):
        return True
    return "DDR" in machine or "GB/s" in machine or comes_with_memory(machine)


def read_probes(text: str) -> dict[str, float]:
    """Return measured rates by name, in bytes a second. Raises InputError for a part that is no
    rate.
    """
    probes = {}
    for part in filter(None, text.split(";")):
        name, _, number = part.partition("=")
        try:
            probes[name.strip()] = float(number)
        except ValueError:
            raise InputError(f"probe {text!r}: {part!r} is no rate such as dram=60e9") from None
    return probes


# Many rows are of one model in one format.
@remembered(MOST_MODELS)
def model_of(runtime: str, name: str, quantization: str, bytes_per_weight: str) -> Model:
    """Return the model with a row's bytes per weight, else in its quantization as the runtime's
    file.

    Raises InputError if neither is stated.
    """
    if bytes_per_weight:
        return with_bytes_per_weight(load_model(name), read_bytes_per_weight(bytes_per_weight))
    if not quantization:
        raise InputError(f"model {name}: neither its quantization nor bytes_per_weight is stated")
    return load_model_for(runtime, name, quantization).model


def _tokens(stated: float | None, otherwise: int) -> int:
    return otherwise if stated is None else int(stated)


def _stated_side(mechanism: str) -> PromptSide | None:
    """Return where the source says that prompts ran, or None if it does not say so.

    A threshold that it states is the program's own and decides nothing here.
    """
    if "prompts on the CPU" in mechanism or mechanism.startswith("CPU"):
        return PromptSide.CPU
    if mechanism.startswith("op offload") and "from" not in mechanism:
        return PromptSide.UPLOAD
    return None
