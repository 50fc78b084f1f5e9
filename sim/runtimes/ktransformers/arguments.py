"""Arguments of KTransformers: kt-kernel with sglang-kt 0.7.2, and the older local_chat.

local_chat is that of 0.2 and 0.3. Read from kt-kernel's README and the server arguments of
sglang-kt 0.7.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
    switch,
)

KTRANSFORMERS = "ktransformers"
CPU_FORMATS: Mapping[str, str | None] = {
    "amxint4": "int4",
    "amxint8": "int8",
    "rawint4": "q4_0",
    "fp8": "fp8",
    "fp8_perchannel": "fp8",
    "bf16": "bf16",
    "llamafile": None,
    "mxfp4": "mxfp4",
}
"""The format of sim.model.quantization for experts on the CPU, by the value of `--kt-method`.

AMX formats have one scale a row, which is left out. RAWINT4 has a 16-bit scale for 32 weights, as
q4_0 has. None stands for the format of a GGUF file.
"""
DEFAULT_THREAD_POOLS = 2
"""The number of pools without --kt-threadpool-count (server arguments of sglang-kt 0.7.2)."""

STRATEGIES = ("uniform", "frequency", "front-loading", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class KtArguments:
    """Arguments of KTransformers that place or price. None stands for the program's own choice.

    ``gpu_experts`` counts experts a layer on the GPU; ``gpu_experts_fraction`` is a share of all
    experts and overrides it. ``is_local_chat``: the arguments are those of the older program. Built
    with ``USE_NUMA=1``, that program has a copy of the experts on each NUMA node
    (``copies_experts``).
    """

    gpu_experts: int = 0
    gpu_experts_fraction: float | None = None
    method: str | None = None
    threads: int | None = None
    thread_pools: int | None = None
    is_local_chat: bool = False
    copies_experts: bool = False
    deferred_experts: int = 0
    gpu_prefill_tokens: int | None = None
    strategy: str = "uniform"
    rule_file: str | None = None
    num_gpus_in_use: int = 1
    experts_per_token: int | None = None
    chunk_tokens: int | None = None
    context_tokens: int | None = None
    ignored: tuple[str, ...] = ()

    @property
    def cpu_format(self) -> str | None:
        """The format of experts on the CPU; None: that of the model's own file."""
        return None if self.method is None else CPU_FORMATS[self.method]

    @property
    def num_pools(self) -> int | None:
        """The pools of threads, each with its part of the experts on a NUMA node of its own.

        None: the older program, whose threads the system places.
        """
        if self.is_local_chat:
            return None
        return DEFAULT_THREAD_POOLS if self.thread_pools is None else self.thread_pools


def read_kt_arguments(line: str) -> KtArguments:
    """Read a line of arguments.

    Raises InputError, one line, for an argument that is unknown, refused or malformed.
    """
    read = read_arguments(line, TABLE)
    values = dict(read.values)
    older = values.pop("chat_threads", None)
    is_local_chat = older is not None or "rule_file" in values or "copies_experts" in values
    if older is not None:
        values["threads"] = older
    return KtArguments(ignored=read.ignored, is_local_chat=is_local_chat, **values)


def _share(text: str) -> float:
    try:
        share = decimal(text)
    except ValueError:
        raise ValueError("a share between 0 and 1 is needed") from None
    if not 0 <= share <= 1:
        raise ValueError("a share between 0 and 1 is needed")
    return share


def _rule_file(text: str) -> str:
    """Return the name of a rule file. Raises ValueError for one whose placement is not known.

    Rule files with one GPU for chats (…-Chat.yaml) leave every expert on the CPU.
    """
    # What other rule files place stands inside them, and they are not here to be read.
    if not text.endswith("-Chat.yaml"):
        raise ValueError(
            "only rule files that keep all experts on the CPU (…-Chat.yaml) are known by name"
        )
    return text


def _ignored(*names: str, arity: Arity = Arity.ONE) -> tuple[Flag, ...]:
    return tuple(Flag(names=(name,), effect=Effect.IGNORED, arity=arity) for name in names)


_FLAGS = (
    Flag(names=("--kt-num-gpu-experts",), key="gpu_experts", read=count),
    Flag(names=("--kt-gpu-experts-ratio",), key="gpu_experts_fraction", read=_share),
    Flag(names=("--kt-method",), key="method", read=one_of(*CPU_FORMATS)),
    Flag(names=("--kt-cpuinfer",), key="threads", read=positive),
    Flag(names=("--cpu_infer", "--cpu-infer"), key="chat_threads", read=positive),
    Flag(names=("USE_NUMA",), key="copies_experts", read=switch, arity=Arity.SWITCH),
    Flag(names=("--kt-threadpool-count",), key="thread_pools", read=positive),
    Flag(names=("--kt-max-deferred-experts-per-token",), key="deferred_experts", read=count),
    Flag(names=("--kt-gpu-prefill-token-threshold",), key="gpu_prefill_tokens", read=positive),
    Flag(names=("--kt-expert-placement-strategy",), key="strategy", read=one_of(*STRATEGIES)),
    Flag(names=("--chunked-prefill-size", "--chunk_size"), key="chunk_tokens", read=positive),
    Flag(names=("--context-length",), key="context_tokens", read=positive),
    Flag(names=("num_experts_per_tok",), key="experts_per_token", read=positive),
    Flag(names=("--optimize_config_path",), key="rule_file", read=_rule_file),
    *_ignored("--model", "--model-path", "--model_path", "--gguf_path", "--kt-weight-path"),
    *_ignored("--host", "--port", "--served-model-name", "--mem-fraction-static"),
    *_ignored(
        "--max-running-requests", "--attention-backend", "--kt-numa-nodes", "--max_new_tokens"
    ),
    *_ignored("--max-total-tokens", "--watchdog-timeout", "--cuda-graph-max-bs", "--dtype"),
    *_ignored("--tool-call-parser", "--reasoning-parser", "--chat-template", "--tokenizer-path"),
    *_ignored("--trust-remote-code", "--enable-mixed-chunk", arity=Arity.SWITCH),
    *_ignored("--disable-shared-experts-fusion", "--enable-p2p-check", arity=Arity.SWITCH),
    *_ignored("--kt-enable-dynamic-expert-update", arity=Arity.SWITCH),
    Flag(
        names=("--tensor-parallel-size", "--tp", "--tp-size"),
        key="num_gpus_in_use",
        read=positive,
    ),
    Flag(
        names=("--init-expert-location",),
        effect=Effect.REFUSED,
        reason="which experts a file places on the GPU is not read",
    ),
)

TABLE: FlagTable = flag_table(
    KTRANSFORMERS, _FLAGS, {name: name for name in ("num_experts_per_tok", "USE_NUMA")}
)
"""The flags of KTransformers. The program reads USE_NUMA when it is built, not when it runs."""
