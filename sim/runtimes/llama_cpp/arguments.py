"""Arguments of llama.cpp and ik_llama.cpp.

Read from common/arg.cpp of llama.cpp at 0c1e57098 and common/common.cpp of ik_llama.cpp, August
2026.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from sim.runtimes.flags import (
    Arity,
    Effect,
    Flag,
    FlagTable,
    count,
    decimal,
    flag_table,
    no_switch,
    one_of,
    positive,
    read_arguments,
    switch,
    whole,
)
from sim.runtimes.llama_cpp.overrides import CpuExperts, Override, read_overrides

LLAMA_CPP = "llama.cpp"
IK_LLAMA_CPP = "ik_llama.cpp"
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1", "q6_0", "q8_kv")
LOAD_MODES = ("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")
"""Ways in which llama.cpp loads a file.

All but auto and mmap need room for the whole file in host memory.
"""

NUMA_MODES = ("distribute", "isolate", "numactl")
"""Rules for where llama.cpp's threads run on a computer with several sockets (ggml-cpu.c)."""

TENSOR = "tensor"
"""The split mode in which every GPU has slices of all matrices and of the cache."""

ALL_LAYERS = 10**6
"""A number of layers that no model exceeds, for -ngl all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaArguments:
    """Arguments that place or price. None stands for what the runtime chooses by itself.

    ``gpu_layers`` counts from the last layer; the output head counts as a layer in llama.cpp, not
    in ik_llama.cpp. ``placements`` are in the order given: the first that matches a tensor wins.
    """

    runtime: str
    gpu_layers: int | None = None
    placements: tuple[Override | CpuExperts, ...] = ()
    tensor_split: tuple[float, ...] = ()
    split_mode: str = "layer"
    main_gpu: int = 0
    devices: tuple[int, ...] | None = None
    is_kv_offloaded: bool = True
    batch_tokens: int = 2048
    micro_batch_tokens: int = 512
    threads: int | None = None
    batch_threads: int | None = None
    key_type: str = "f16"
    value_type: str = "f16"
    is_flash_attention: bool | None = None
    is_op_offload: bool = True
    offload_min_tokens: int | None = None
    offload_operations: tuple[tuple[int, int], ...] = ()
    is_repacked: bool = True
    is_host_buffer: bool = True
    is_runtime_repacked: bool = False
    is_fused_moe: bool = False
    mla: int | None = None
    attention_buffer_mib: int | None = None
    experts_per_token: int | None = None
    expert_cache_mib: int = 0
    is_fitted: bool = True
    is_fit_asked: bool = False
    fit_margin_mib: int = 1024
    fit_context_tokens: int = 4096
    context_tokens: int | None = None
    num_sequences: int = 1
    numa: str | None = None
    load_mode: str = "auto"
    ignored: tuple[str, ...] = ()

    @property
    def is_ik(self) -> bool:
        """Whether the runtime is ik_llama.cpp."""
        return self.runtime == IK_LLAMA_CPP

    @property
    def uses_fit(self) -> bool:
        """Whether the program chooses the placement by its fit (common/fit.cpp).

        It does so where nothing in the arguments places anything. ik_llama.cpp must also be asked
        to (its pull request 1501). With -sm tensor the fit ends without a choice
        (docs/multi-gpu.md).
        """
        is_stated = self.gpu_layers is not None or self.placements or self.tensor_split
        is_on = self.is_fit_asked if self.is_ik else self.is_fitted
        return is_on and not is_stated and self.split_mode != TENSOR

    @property
    def copies_for_prompts(self) -> bool:
        """Whether a GPU may compute with weights that it copies from host memory first.

        With -sm tensor it may not: the device that stands for all GPUs does not offer it
        (ggml-backend-meta.cpp, offload_op).
        """
        return self.is_op_offload and self.split_mode != TENSOR


def read_llama_arguments(line: str, runtime: str = LLAMA_CPP) -> LlamaArguments:
    """Read a line of arguments.

    Raises InputError, one line, for an argument that is unknown, refused or malformed.
    """
    read = read_arguments(line, TABLES[runtime])
    values = dict(read.values)
    placements: list[Override | CpuExperts] = []
    for placed in values.pop("placements", ()):
        placements.extend(placed)
    known = {item.name for item in fields(LlamaArguments)}
    # A key of the tables that is no field is our own mistake.
    assert set(values) <= known, set(values) - known
    return LlamaArguments(
        runtime=runtime, placements=tuple(placements), ignored=read.ignored, **values
    )


def _gpu_layers(text: str) -> int | None:
    if text in ("auto", "-1"):
        return None
    return ALL_LAYERS if text == "all" else count(text)


def _cpu_experts(text: str) -> tuple[CpuExperts]:
    return (CpuExperts(num_layers=count(text)),)


def _last_cpu_experts(text: str) -> tuple[CpuExperts]:
    return (CpuExperts(num_layers=count(text), is_from_end=True),)


def _all_cpu_experts(text: str) -> tuple[CpuExperts, ...]:
    return (CpuExperts(num_layers=None),) if switch(text) else ()


def _split(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(
            decimal(part) for part in text.replace("/", ",").replace(";", ",").split(",")
        )
    except ValueError:
        raise ValueError("shares such as 3,1 are needed") from None
    if min(shares) < 0 or not 0 < sum(shares) < inf:
        raise ValueError("shares of at least 0, and one above it, are needed")
    return shares


def _devices(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    # Only the number counts here: each back end numbers its devices from 0. llama-bench separates
    # them by a slash.
    names = text.replace("/", ",").split(",")
    found = [re.fullmatch(r"(?:CUDA|Vulkan|ROCm)(\d+)", name.strip()) for name in names]
    if None in found:
        raise ValueError("names such as CUDA0,CUDA1, or none, are needed")
    return tuple(int(match.group(1)) for match in found if match is not None)


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    numbers = [whole(part) for part in text.split(",")]
    if len(numbers) % 2:
        raise ValueError("pairs of operation and 0 or 1 are needed")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _smart_experts(text: str) -> int:
    """Return the number of experts of -ser Kmin,t. Raises ValueError for a t below 1.

    With t of 1, exactly Kmin experts are used; below, their number depends on the gate's values.
    """
    kept, _, threshold = text.partition(",")
    try:
        is_fixed = decimal(threshold or "1") >= 1
    except ValueError:
        raise ValueError("a pair such as 6,1 is needed") from None
    if not is_fixed:
        raise ValueError(
            "only a threshold of 1 can be predicted; below, the gate's values decide how many experts run"
        )
    return positive(kept)


def _threads(text: str) -> int | None:
    """Return a number of threads, or None for 0 or less.

    None leaves the choice to the program (common/arg.cpp).
    """
    number = whole(text)
    return number if number > 0 else None


def _mla_mode(text: str) -> int:
    return int(one_of("0", "1", "2", "3")(text))


def _one_sequence(text: str) -> int:
    if positive(text) > 1:
        raise ValueError("only one sequence at a time is predicted")
    return 1


def _mode_if(on: str, off: str) -> Callable[[str], str]:
    """Return a reader of a switch that chooses between two load modes."""

    def _read(text: str) -> str:
        return on if switch(text) else off

    return _read


def _set(names: str, key: str, read: Any = count, arity: Arity = Arity.ONE) -> Flag:
    return Flag(
        names=tuple(names.split()), key=key, read=read, arity=arity, repeats=key == "placements"
    )


def _switch(names: str, key: str, read: Any = switch) -> Flag:
    return _set(names, key, read, Arity.SWITCH)


def _ignored(names: str, arity: Arity) -> tuple[Flag, ...]:
    return tuple(Flag(names=(name,), effect=Effect.IGNORED, arity=arity) for name in names.split())


def _refused(names: str, reason: str, arity: Arity = Arity.ONE) -> Flag:
    return Flag(names=tuple(names.split()), effect=Effect.REFUSED, reason=reason, arity=arity)


_SHARED = (
    _set("-ngl --gpu-layers --n-gpu-layers", "gpu_layers", _gpu_layers),
    _set("-ot --override-tensor", "placements", read_overrides),
    _switch("-cmoe --cpu-moe", "placements", _all_cpu_experts),
    _set("-ts --tensor-split", "tensor_split", _split),
    _set("-mg --main-gpu", "main_gpu"),
    _set("-dev --device", "devices", _devices),
    _switch("-nkvo --no-kv-offload", "is_kv_offloaded", no_switch),
    _switch("-kvo --kv-offload", "is_kv_offloaded"),
    _set("-b --batch-size", "batch_tokens", positive),
    _set("-ub --ubatch-size", "micro_batch_tokens", positive),
    _set("-t --threads", "threads", _threads),
    _set("-tb --threads-batch", "batch_threads", _threads),
    _set("-ctk --cache-type-k", "key_type", one_of(*KV_TYPES)),
    _set("-ctv --cache-type-v", "value_type", one_of(*KV_TYPES)),
    _switch("-fa --flash-attn", "is_flash_attention"),
    _set("-c --ctx-size", "context_tokens"),
    _set("--fit-margin", "fit_margin_mib"),
    _set("-np --parallel", "num_sequences", _one_sequence),
    _set("--numa", "numa", one_of(*NUMA_MODES)),
    _set("GGML_OP_OFFLOAD_MIN_BATCH", "offload_min_tokens", positive),
    *_ignored(
        "-m --model -a --alias --host --port --api-key -s --seed -n --n-predict -p -r --repetitions -d -o -pg",
        Arity.ONE,
    ),
    *_ignored(
        "-hf -hfr --hf-repo -hff --hf-file -hft --hf-token -mu --model-url --mmproj --prompt -f --file",
        Arity.ONE,
    ),
    *_ignored(
        "--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-orig-ctx --repeat-penalty",
        Arity.ONE,
    ),
    *_ignored(
        "--presence-penalty --chat-template-kwargs --chat-template-file --reasoning-format --timeout",
        Arity.ONE,
    ),
    *_ignored(
        "--verbosity --log-verbosity --log-file --prio --reasoning-budget -cram --cache-ram",
        Arity.ONE,
    ),
    *_ignored("--slots --no-slots --no-mmproj -kvu --kv-unified -nocb", Arity.SWITCH),
    *_ignored(
        "--temp --top-k --top-p --min-p -lv --chat-template --cache-reuse",
        Arity.ONE,
    ),
    *_ignored(
        "-v --verbose --no-warmup --warmup --log-disable --metrics -cb --cont-batching --jinja",
        Arity.SWITCH,
    ),
    *_ignored("--no-context-shift --no-webui --check-tensors", Arity.SWITCH),
    _switch("--mmap -mmp", "load_mode", _mode_if("mmap", "none")),
    _switch("--no-mmap", "load_mode", _mode_if("none", "mmap")),
    _switch("--mlock", "load_mode", _mode_if("mlock", "auto")),
    _refused("--rpc", "experts and layers on other computers are not modelled"),
    _refused("-md --model-draft --draft --draft-max", "speculative decoding is not modelled"),
    _refused("--lora --lora-scaled --control-vector", "adapters are not modelled"),
)
"""Flags that both programs read alike."""

_MAINLINE = (
    _set("-ncmoe --n-cpu-moe", "placements", _cpu_experts),
    _set("-sm --split-mode", "split_mode", one_of("layer", "none", "row", TENSOR)),
    _switch("-nopo --no-op-offload", "is_op_offload", no_switch),
    _switch("--op-offload", "is_op_offload"),
    _switch("-nr --no-repack", "is_repacked", no_switch),
    _switch("--repack", "is_repacked"),
    _switch("--no-host", "is_host_buffer", no_switch),
    _set("--moe-cache-mib", "expert_cache_mib"),
    _switch("-fit --fit", "is_fitted"),
    _set("-lm --load-mode", "load_mode", one_of(*LOAD_MODES)),
    _switch("-dio --direct-io", "load_mode", _mode_if("dio", "auto")),
    _set("-fitt --fit-target", "fit_margin_mib"),
    _set("-fitc --fit-ctx", "fit_context_tokens"),
)
"""Flags of llama.cpp alone."""

_IK = (
    _set("-ncmoe --n-cpu-moe", "placements", _last_cpu_experts),
    _set("-sm --split-mode", "split_mode", one_of("layer", "none")),
    _switch("-rtr --run-time-repack", "is_runtime_repacked"),
    _switch("-fmoe --fused-moe", "is_fused_moe"),
    _switch("-no-fmoe --no-fused-moe", "is_fused_moe", no_switch),
    _set("-mla --mla-use", "mla", _mla_mode),
    _set("-amb --attention-max-batch", "attention_buffer_mib"),
    _set("-ser --smart-expert-reduction", "experts_per_token", _smart_experts),
    _set("-op --offload-policy", "offload_operations", _pairs),
    _switch("--fit", "is_fit_asked"),
    *_ignored("-ooae -no-ooae -gr -no-gr -ger -mqkv --merge-qkv -muge -rcache", Arity.SWITCH),
    *_ignored("--merge-up-gate-experts -khad --k-cache-hadamard", Arity.SWITCH),
    *_ignored("-cuda --cuda-params -grt --graph-reduce-type", Arity.ONE),
)
"""Flags of ik_llama.cpp alone."""

_VARIABLES = {
    "LLAMA_ARG_N_GPU_LAYERS": "-ngl",
    "LLAMA_ARG_TENSOR_SPLIT": "-ts",
    "LLAMA_ARG_SPLIT_MODE": "-sm",
    "LLAMA_ARG_OVERRIDE_TENSOR": "-ot",
    "LLAMA_ARG_CPU_MOE": "-cmoe",
    "LLAMA_ARG_N_CPU_MOE": "-ncmoe",
    "LLAMA_ARG_MAIN_GPU": "-mg",
    "LLAMA_ARG_DEVICE": "-dev",
    "LLAMA_ARG_BATCH": "-b",
    "LLAMA_ARG_UBATCH": "-ub",
    "LLAMA_ARG_THREADS": "-t",
    "LLAMA_ARG_NUMA": "--numa",
    "LLAMA_ARG_CTX_SIZE": "-c",
    "LLAMA_ARG_FLASH_ATTN": "-fa",
    "LLAMA_ARG_CACHE_TYPE_K": "-ctk",
    "LLAMA_ARG_CACHE_TYPE_V": "-ctv",
    "GGML_OP_OFFLOAD_MIN_BATCH": "GGML_OP_OFFLOAD_MIN_BATCH",
}

TABLES: Mapping[str, FlagTable] = {
    LLAMA_CPP: flag_table(
        LLAMA_CPP,
        (*_SHARED, *_MAINLINE),
        _VARIABLES | {"LLAMA_ARG_MOE_CACHE_MIB": "--moe-cache-mib", "LLAMA_ARG_FIT": "--fit"},
    ),
    IK_LLAMA_CPP: flag_table(IK_LLAMA_CPP, (*_SHARED, *_IK), _VARIABLES),
}
"""The flags of each program."""
