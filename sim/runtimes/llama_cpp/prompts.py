"""Rules by which llama.cpp and ik_llama.cpp copy weights from host memory to a GPU for a prompt.

llama.cpp copies from GGML_OP_OFFLOAD_MIN_BATCH (32) tokens on (ggml_backend_cuda_device_offload_op,
pull requests 13386, 18535). Repacked weights are in no host buffer and stay (issue 12481).
ik_llama.cpp copies from 32 tokens on. Since its pull request 520 it copies experts from 32 ·
experts / active experts on. It copies interleaved formats only where CUDA kernels read them (461
and 462: IQ*_K; 492 and 494: IQ1).
"""

from sim.model.model import Model
from sim.runtimes.formats import FormatFamily, format_family, is_interleaved
from sim.runtimes.llama_cpp.arguments import LlamaArguments

MIN_TOKENS = 32
SCALED_BY_EXPERTS_SINCE = 520
INTERLEAVED_ON_GPU_SINCE = 461
DENSE_OPERATION = 26
EXPERT_OPERATION = 27


def uploads_dense(arguments: LlamaArguments, tokens: int) -> bool:
    """Whether dense matrices in host memory are copied to a GPU for a micro-batch of ``tokens``."""
    return _is_on(arguments, DENSE_OPERATION) and tokens >= _min_tokens(arguments)


def uploads_experts(
    arguments: LlamaArguments, model: Model, quantization: str, build: int, tokens: int
) -> bool:
    """Whether routed experts in host memory are copied to a GPU for a micro-batch of ``tokens``."""
    if not _is_on(arguments, EXPERT_OPERATION) or model.is_dense:
        return False
    if not arguments.is_ik:
        # Only from host buffers can the back end copy by itself.
        return tokens >= _min_tokens(arguments) and arguments.is_host_buffer
    if _is_interleaved(arguments, quantization) and not _has_gpu_kernel(quantization, build):
        return False
    # With few tokens an expert, copying it takes longer than its products on the CPU.
    scale = model.num_experts / model.top_k if build >= SCALED_BY_EXPERTS_SINCE else 1.0
    return tokens >= _min_tokens(arguments) * scale


def _is_on(arguments: LlamaArguments, operation: int) -> bool:
    return (
        arguments.copies_for_prompts and dict(arguments.offload_operations).get(operation, 1) != 0
    )


def _min_tokens(arguments: LlamaArguments) -> int:
    return MIN_TOKENS if arguments.offload_min_tokens is None else arguments.offload_min_tokens


def _is_interleaved(arguments: LlamaArguments, quantization: str) -> bool:
    return arguments.is_runtime_repacked or is_interleaved(quantization)


def _has_gpu_kernel(quantization: str, build: int) -> bool:
    is_iq1 = quantization.upper().startswith("IQ1")
    return build >= INTERLEAVED_ON_GPU_SINCE and (
        is_iq1 or format_family(quantization) is FormatFamily.IQ_K
    )
