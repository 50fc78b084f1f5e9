"""Arguments of exllamav3 (model_init.py of its repository at 0148de299)."""

from dataclasses import dataclass

from sim.runtimes.flags import (
    Arity,
    Effect,
    Flag,
    FlagTable,
    count,
    flag_table,
    positive,
    read_arguments,
)

EXLLAMAV3 = "exllamav3"
DEFAULT_CHUNK_TOKENS = 4096
STREAM_TOKENS_AT_25_GB_PER_S = 16
"""The fewest tokens of a prompt for which experts are copied to the GPU over 25 GB/s.

Over another link there are 25 GB/s over its rate times as many, but never fewer (moe_cpu_host.py,
stream_t).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exl3Arguments:
    """Arguments of exllamav3 that place or price. None stands for the program's own choice.

    The CPU computes all experts of the first ``cpu_layers`` MoE layers. Of every other MoE layer it
    computes ``split_experts`` experts, beside the GPU.
    """

    cpu_layers: int = 0
    split_experts: int = 0
    threads: int | None = None
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS
    context_tokens: int | None = None
    experts_per_token: int | None = None
    ignored: tuple[str, ...] = ()


def read_exl3_arguments(line: str) -> Exl3Arguments:
    """Read a line of arguments.

    Raises InputError, one line, for an argument that is unknown, refused or malformed.
    """
    read = read_arguments(line, TABLE)
    return Exl3Arguments(ignored=read.ignored, **read.values)


_FLAGS = (
    Flag(names=("-mcl", "--moe_cpu_offload"), key="cpu_layers", read=count),
    Flag(names=("-mcs", "--moe_cpu_split"), key="split_experts", read=count),
    Flag(names=("-mct", "--moe_cpu_threads"), key="threads", read=positive),
    Flag(names=("-chunk_size", "--chunk_size"), key="chunk_tokens", read=positive),
    Flag(names=("-cs", "--cache_size"), key="context_tokens", read=positive),
    *(
        Flag(names=names, effect=Effect.IGNORED)
        for names in (("-m", "--model_dir"), ("-gs", "--gpu_split"))
    ),
    *(
        Flag(names=names, effect=Effect.IGNORED, arity=Arity.SWITCH)
        for names in (("-ngr", "--ngram_ram"), ("-lv", "--load_verbose"), ("-nw", "--no_warmup"))
    ),
    Flag(
        names=("-tp", "--tensor_parallel", "-cq", "--cache_quant", "-placement", "--placement"),
        effect=Effect.REFUSED,
        reason="it is not modelled",
    ),
)

TABLE: FlagTable = flag_table(EXLLAMAV3, _FLAGS, {})
"""The flags of exllamav3."""
