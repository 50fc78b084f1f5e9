"""The steps of a question, as features that can be priced: one decoded token, and a prompt.

A prompt is counted by micro-batches.
"""

import math
from dataclasses import dataclass

from hwprofiles.units import GB
from sim.runtimes.accelerate.arguments import AccelerateArguments
from sim.runtimes.exllamav3.arguments import EXLLAMAV3, STREAM_TOKENS_AT_25_GB_PER_S, Exl3Arguments
from sim.runtimes.features import (
    FAMILIES,
    NOMINAL_CLOCK_HZ,
    Features,
    added,
    cores_in_use,
    is_on_two_sockets,
    lag,
    width,
)
from sim.runtimes.formats import FormatFamily, format_family
from sim.runtimes.host import Vector
from sim.runtimes.ktransformers.arguments import KTRANSFORMERS, KtArguments
from sim.runtimes.kv import EXPANDING_MODES, cached_model, kv_element_bytes, mla_mode
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP, LlamaArguments
from sim.runtimes.llama_cpp.prompts import uploads_dense, uploads_experts
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.placing import placement_of, with_expert_cache
from sim.runtimes.prompt_kernels import prompt_kernel_factor
from sim.runtimes.question import PromptSide, RuntimeQuestion
from sim.runtimes.rows import with_rows_worked
from sim.runtimes.sockets import socket_use
from sim.runtimes.vllm.arguments import VllmArguments
from sim.runtimes.work import StepLoad, StepWork, has_compressed_cache, queries_per_key, work_of

F16_BYTES = 2
GROUPED_KV_SINCE = 370
"""The pull request of ik_llama.cpp that grouped heads in attention on GPUs.

Since it, keys and values are read once for each group of heads.
"""

GROUPED_EXPERTS_SINCE = {IK_LLAMA_CPP: 728, LLAMA_CPP: 13199}
"""The pull request of each program since which one kernel multiplies by all experts of a prompt.

Before it, the host read which tokens chose an expert, and started kernels for one expert after the
other. (ggml_cuda_mul_mat_id; ik_llama.cpp's was a copy of it.) llama.cpp's is of 2025-04-30.
"""

TILED_FLASH_SINCE = 19012
"""The pull request of llama.cpp that made flash attention of prompts on the CPU fast.

Since it, such attention is as fast as plain attention.
"""

COMPRESSED_ON_GPU_SINCE = 13306
MIN_EXPANDED_TOKENS = 128
AMX_METHODS = ("amxint4", "amxint8")


@dataclass(frozen=True, kw_only=True)
class RuntimeSteps:
    """A question's placement and its two steps.

    ``uploads`` says whether the prompt's first micro-batch copies experts to a GPU.
    """

    placement: DevicePlacement
    decode: Features
    prefill: Features
    uploads: bool


def steps_of(question: RuntimeQuestion, placement: DevicePlacement | None = None) -> RuntimeSteps:
    """Return both steps of a question, for a known placement or else for that of the arguments."""
    if placement is None:
        placement = placement_of(question)
    prompt, uploads = _prompt(question, placement)
    return RuntimeSteps(
        placement=placement,
        # A prompt uses every expert, so the cache's hits are for decoding alone.
        decode=decode_step(question, with_expert_cache(question, placement)),
        prefill=prompt,
        uploads=uploads,
    )


def decode_step(
    question: RuntimeQuestion, placement: DevicePlacement, num_tokens: int = 1
) -> Features:
    """Return the step of one decoded token with that placement.

    With ``num_tokens`` above 1, the step checks several tokens of one sequence together.
    """
    copies = _always_copies(question)
    load = _load(question, num_tokens, question.context_tokens, (copies, copies))
    work = work_of(cached_model(question), placement, question.host, load)
    work = with_rows_worked(question, placement, work, num_tokens)
    return _features(
        question, work, tokens=num_tokens, micro_batches=1, threads=question.arguments.threads
    )


def prompt_step(question: RuntimeQuestion, placement: DevicePlacement) -> Features:
    """Return the whole prompt as one step with that placement."""
    return _prompt(question, placement)[0]


def _prompt(question: RuntimeQuestion, placement: DevicePlacement) -> tuple[Features, bool]:
    work, num_batches, uploads = _prompt_work(question, placement)
    features = _features(
        question,
        work,
        tokens=question.prompt_tokens,
        micro_batches=num_batches,
        threads=prompt_threads(question),
    )
    return features, uploads


def prompt_threads(question: RuntimeQuestion) -> int | None:
    """Return the number of threads for prompts; None where the program chooses."""
    arguments = question.arguments
    if isinstance(arguments, LlamaArguments) and arguments.batch_threads is not None:
        return arguments.batch_threads
    return arguments.threads


def _load(
    question: RuntimeQuestion,
    tokens: int,
    context_tokens: float,
    side: tuple[bool, bool] = (False, False),
) -> StepLoad:
    return StepLoad(
        tokens=tokens,
        context_tokens=context_tokens,
        kv_element_bytes=kv_element_bytes(question),
        experts_per_token=question.arguments.experts_per_token,
        uploads_experts=side[0],
        uploads_dense=side[1],
        copies_idle_experts=_copies_whole_layers(question),
        is_pageable=isinstance(question.arguments, AccelerateArguments),
        reads_over_link=isinstance(question.arguments, VllmArguments)
        and not question.arguments.group_size,
        expands_cache=_expands_cache(question, tokens),
        uploads_cache=_uploads_cache(question),
    )


def _copies_whole_layers(question: RuntimeQuestion) -> bool:
    """Whether copying a layer also copies the experts that no token selects."""
    arguments = question.arguments
    if isinstance(arguments, VllmArguments):
        return bool(arguments.group_size)
    return isinstance(arguments, AccelerateArguments)


def _always_copies(question: RuntimeQuestion) -> bool:
    """Whether a GPU computes with weights in host memory in every pass, for answers too."""
    is_copying = isinstance(question.arguments, VllmArguments | AccelerateArguments)
    return is_copying and bool(question.host.gpus)


def _prompt_work(
    question: RuntimeQuestion, placement: DevicePlacement
) -> tuple[StepWork, int, bool]:
    """Return the work of the whole prompt and the number of its micro-batches.

    The third value says whether the first micro-batch uploads experts.
    """
    # A prompt shorter than a micro-batch is one of its own length.
    size = min(_micro_batch(question), question.prompt_tokens)
    num_batches = math.ceil(question.prompt_tokens / size)
    works = []
    for index in range(num_batches):
        tokens = min(size, question.prompt_tokens - index * size)
        # Later micro-batches attend to the earlier ones too.
        start = question.prompt_context_tokens + index * size
        load = _load(question, tokens, start, _uploads(question, tokens))
        work = work_of(cached_model(question), placement, question.host, load)
        works.append(with_rows_worked(question, placement, work, tokens))
    return added(works), num_batches, _uploads(question, size)[0]


def _micro_batch(question: RuntimeQuestion) -> int:
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments):
        return arguments.chunk_tokens or question.prompt_tokens
    return min(arguments.micro_batch_tokens, arguments.batch_tokens)


def _uploads(question: RuntimeQuestion, tokens: int) -> tuple[bool, bool]:
    """Whether a micro-batch of ``tokens`` uploads routed experts, and whether other matrices."""
    arguments = question.arguments
    if not question.host.gpus:
        return False, False
    if isinstance(arguments, KtArguments):
        threshold = arguments.gpu_prefill_tokens
        return threshold is not None and tokens >= threshold, False
    if isinstance(arguments, Exl3Arguments):
        return tokens >= stream_tokens(question.host.gpus[0].link_bytes_per_s), False
    if not isinstance(arguments, LlamaArguments):
        return True, True
    dense = uploads_dense(arguments, tokens)
    if question.prompt_side is not None:
        return question.prompt_side is PromptSide.UPLOAD and dense, dense
    return uploads_experts(
        arguments, question.model, question.quantization, question.build, tokens
    ), dense


def stream_tokens(link_bytes_per_s: float) -> int:
    """Return the number of tokens from which exllamav3 copies a prompt's experts over the link."""
    at_25 = 25 * GB / link_bytes_per_s
    return math.ceil(STREAM_TOKENS_AT_25_GB_PER_S * max(1.0, at_25))


def _features(
    question: RuntimeQuestion,
    work: StepWork,
    *,
    tokens: int,
    micro_batches: int,
    threads: int | None,
) -> Features:
    host = question.host
    cores = cores_in_use(host, threads)
    is_flash = getattr(question.arguments, "is_flash_attention", None) is True
    return Features(
        work=work,
        tokens=tokens,
        micro_batches=micro_batches,
        is_server=host.is_server,
        is_on_two_sockets=is_on_two_sockets(host, threads),
        socket_use=int(socket_use(question, threads)),
        socket_bytes_per_s=host.dram_bytes_per_s or 0.0,
        # A probe is of the whole CPU, constants are of one socket.
        probe_bytes_per_s=(host.probe_bytes_per_s or 0.0) / host.sockets,
        is_probe_assumed=host.is_probe_assumed,
        threads=cores,
        cores=cores * host.clock_hz / NOMINAL_CLOCK_HZ,
        lag=lag(host),
        width=width(host),
        has_amx=_uses_amx(question),
        family=FAMILIES.index(_family(question)),
        kernel_factor=prompt_kernel_factor(question, _cpu_format(question)),
        is_kt=question.runtime == KTRANSFORMERS,
        is_optimised=question.runtime != LLAMA_CPP,
        ungrouped_queries=_ungrouped_queries(question),
        is_attention_ungrouped=_is_before_grouping(question),
        loops_over_experts=question.build < GROUPED_EXPERTS_SINCE.get(question.runtime, 0),
        kv_bytes_factor=_kv_bytes_factor(question),
        is_flash_on_cpu=question.runtime == LLAMA_CPP and is_flash,
        is_flash_tiled=question.build >= TILED_FLASH_SINCE,
        is_mla=has_compressed_cache(cached_model(question)),
        is_cache_expanded=_expands_cache(question, tokens / micro_batches),
        has_gpu=bool(host.gpus),
        is_other_maker=not all(gpu.is_nvidia for gpu in host.gpus),
        # Other programs have kernels of their own; no such figures of them are known.
        has_server_card=question.runtime in GROUPED_EXPERTS_SINCE
        and any(gpu.is_server_card for gpu in host.gpus),
        is_copy_known=isinstance(question.arguments, VllmArguments | AccelerateArguments),
    )


def _family(question: RuntimeQuestion) -> FormatFamily:
    """The family of products on the CPU: exllamav3's own format is a trellis code."""
    if question.runtime == EXLLAMAV3:
        return FormatFamily.TRELLIS
    return format_family(_cpu_format(question))


def _cpu_format(question: RuntimeQuestion) -> str:
    """The public name of the format of experts on the CPU."""
    arguments = question.arguments
    own = arguments.cpu_format if isinstance(arguments, KtArguments) else None
    return own or question.quantization


def _ungrouped_queries(question: RuntimeQuestion) -> float:
    """Return the number of query heads for which GPU kernels read the same keys and values anew.

    0 where they do not. llama.cpp takes its kernel for one query head where the cache is quantised.
    ik_llama.cpp did so for every cache until its pull request 370 (fattn.cu of both).
    """
    is_old = _is_before_grouping(question)
    is_single = question.runtime == LLAMA_CPP and kv_element_bytes(question) < F16_BYTES
    return queries_per_key(cached_model(question)) if is_old or is_single else 0.0


def _expands_cache(question: RuntimeQuestion, tokens: float) -> bool:
    """Whether a prompt's keys and values are expanded from a compressed cache.

    ik_llama.cpp does so with -mla 2 and 3 for 128 tokens and more (build_deepseek2.cpp), and
    KTransformers for prompts. llama.cpp multiplies queries by the compressed cache instead (its
    pull request 12801).
    """
    if tokens == 1 or not has_compressed_cache(cached_model(question)):
        return False
    if not isinstance(question.arguments, LlamaArguments):
        return True
    return mla_mode(question) in EXPANDING_MODES and tokens >= MIN_EXPANDED_TOKENS


def _uploads_cache(question: RuntimeQuestion) -> bool:
    """Whether attention follows its matrices to the GPU where a prompt uploads them.

    The scheduler gives work between two products on a GPU to that GPU too if the GPU has a kernel
    for it. (ggml_backend_sched_split_graph, second pass.) With -nkvo it stays on the CPU. llama.cpp
    has a CUDA kernel for compressed caches since its pull request 13306.
    """
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments) or not arguments.is_kv_offloaded:
        return False
    has_kernel = arguments.is_ik or question.build >= COMPRESSED_ON_GPU_SINCE
    return has_kernel or not has_compressed_cache(cached_model(question))


def _is_before_grouping(question: RuntimeQuestion) -> bool:
    return question.runtime == IK_LLAMA_CPP and question.build < GROUPED_KV_SINCE


def _kv_bytes_factor(question: RuntimeQuestion) -> float:
    """Return the bytes that GPU kernels move for the KV cache, over those that it takes.

    A kernel for grouped heads needs 16 bit: a quantised cache is read, written in 16 bit and read
    again (launch_fattn of both programs). A kernel for one head unpacks the cache as it reads, for
    each head anew. That takes the time of reading 16 bit.
    """
    stored = kv_element_bytes(question)
    if stored >= F16_BYTES:
        return 1.0
    moved = F16_BYTES if _ungrouped_queries(question) else stored + 2 * F16_BYTES
    return moved / stored


def _uses_amx(question: RuntimeQuestion) -> bool:
    """Whether products run on AMX tiles, as those of KTransformers' integer formats do."""
    if question.runtime != KTRANSFORMERS or question.host.vector is not Vector.AMX:
        return False
    assert isinstance(question.arguments, KtArguments)
    return question.arguments.method in AMX_METHODS or question.quantization.upper().startswith(
        "INT"
    )
