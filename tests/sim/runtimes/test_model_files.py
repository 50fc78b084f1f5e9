"""What a program's file of a model holds."""

import pytest

from sim.model.model import TensorClass
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP
from sim.runtimes.model_files import load_model_for

GGML_ORG_BYTES = 59.02 * 2**30
"""llama-bench's size of ggml-org's gpt-oss-120b (llama.cpp pull request 19922)."""


@pytest.mark.parametrize("quantization", [None, "MXFP4", "mxfp4"])
@pytest.mark.parametrize("runtime", [LLAMA_CPP, IK_LLAMA_CPP])
def test_a_gguf_file_of_gpt_oss_has_the_size_that_is_published(
    runtime: str, quantization: str | None
) -> None:
    """Experts stay MXFP4, and the rest is in Q8_0, not in the checkpoint's 16 bit."""
    model = load_model_for(runtime, "gpt-oss-120b", quantization)
    assert model.total_bytes == pytest.approx(GGML_ORG_BYTES, rel=0.005)
    assert model.dtype(TensorClass.ATTENTION) == "q8_0"


def test_programs_that_read_the_checkpoint_have_its_16_bit() -> None:
    """KTransformers and vLLM load what was published."""
    model = load_model_for("vllm", "gpt-oss-120b", None)
    assert model.dtype(TensorClass.ATTENTION) == "bf16"


def test_another_quantization_stays_as_it_is_named() -> None:
    """Only that scheme differs between a checkpoint and its GGUF file."""
    assert load_model_for(LLAMA_CPP, "qwen3-30b-a3b", "Q4_K_M").quantization == "Q4_K_M"
