"""What a program's file of a model holds, and what no file of it can."""

import pytest

from hwprofiles import InputError
from sim.model.model import TensorClass
from sim.runtimes.asking import READERS
from sim.runtimes.caching.arguments import FREETOKEN
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP
from sim.runtimes.model_files import load_model_for

GGML_ORG_BYTES = 59.02 * 2**30
"""llama-bench's size of ggml-org's gpt-oss-120b (llama.cpp pull request 19922)."""

UNSLOTH_BYTES = 713.29e9
"""The Q8_0 file of DeepSeek-V3 (huggingface.co/unsloth/DeepSeek-V3-0324-GGUF)."""

BY_BITS = ("16bit", "8bit", "4bit", "4bit-experts")
BOTH_GGUF = ("Q4_K_M", "Q8_0", "IQ2_XXS", "UD-Q2_K_XL", "BF16", "MXFP4_MOE")
OF_IK = ("IQ4_KS", "IQ4_KT", "Q4_K_R4", "IQ2_K_R4")
CHECKPOINTS = ("AWQ", "GPTQ-4bit", "GPTQ-8bit", "INT4", "INT8", "NVFP4", "fp8", "MXFP4")
TRELLIS = ("EXL3-4.0bpw",)
ALL = (*BY_BITS, *BOTH_GGUF, *OF_IK, *CHECKPOINTS, *TRELLIS, "EXL2-4.0bpw")

# A format that says its bits alone fits every program; BF16 is a format of all files.
LOADED = {
    LLAMA_CPP: (*BOTH_GGUF, "fp8", "INT8", "GPTQ-8bit", "MXFP4", "NVFP4"),
    IK_LLAMA_CPP: (*BOTH_GGUF, *OF_IK, "fp8", "INT8", "GPTQ-8bit", "MXFP4"),
    "ktransformers": (*BOTH_GGUF, *CHECKPOINTS),
    "vllm": ("BF16", *CHECKPOINTS),
    "accelerate": ("BF16", *CHECKPOINTS),
    "exllamav3": ("BF16", *TRELLIS),
    FREETOKEN: ("BF16", "NVFP4", "fp8", "MXFP4"),
}


@pytest.mark.parametrize("quantization", ALL)
@pytest.mark.parametrize("runtime", [*READERS, FREETOKEN])
def test_each_program_loads_its_own_formats(runtime: str, quantization: str) -> None:
    """All others are refused in one line that names a format to state instead."""
    if quantization in (*BY_BITS, *LOADED[runtime]):
        assert load_model_for(runtime, "qwen3-30b-a3b", quantization).model.total_bytes > 0
        return
    with pytest.raises(InputError, match=rf"^{runtime} cannot load .*`quantization`, such as") as e:
        load_model_for(runtime, "qwen3-30b-a3b", quantization)
    assert "\n" not in str(e.value)
    example = str(e.value).rsplit(maxsplit=1)[1]
    assert load_model_for(runtime, "qwen3-30b-a3b", example).assumptions == ()


@pytest.mark.parametrize("runtime", [LLAMA_CPP, IK_LLAMA_CPP])
@pytest.mark.parametrize("quantization", [None, "fp8"])
def test_a_checkpoint_in_8_bits_is_taken_as_q8_0(runtime: str, quantization: str | None) -> None:
    """GGUF has no 8-bit floats; what is taken instead is said, and has the size that is published."""
    file = load_model_for(runtime, "deepseek-v3", quantization)
    assert file.model.total_bytes == pytest.approx(UNSLOTH_BYTES, rel=0.005)
    assert file.quantization == "Q8_0"
    (said,) = file.assumptions
    assert said.startswith(f"{runtime} reads GGUF files, which have no fp8: Q8_0 is taken")


@pytest.mark.parametrize("model", ["deepseek-v4-flash", "deepseek-v4-pro"])
def test_experts_in_mxfp4_stay_beside_8_bit_floats(model: str) -> None:
    """The rest of such a checkpoint becomes Q8_0, and that is said."""
    file = load_model_for(LLAMA_CPP, model, None)
    assert file.model.dtype(TensorClass.EXPERT) == "mxfp4"
    assert file.model.dtype(TensorClass.ATTENTION) == "q8_0"
    assert "no fp8: MXFP4_MOE is taken" in file.assumptions[0]


@pytest.mark.parametrize("quantization", [None, "MXFP4", "mxfp4"])
@pytest.mark.parametrize("runtime", [LLAMA_CPP, IK_LLAMA_CPP])
def test_a_gguf_file_of_gpt_oss_has_the_size_that_is_published(
    runtime: str, quantization: str | None
) -> None:
    """Experts stay MXFP4, and the rest is in Q8_0, not in the checkpoint's 16 bit."""
    file = load_model_for(runtime, "gpt-oss-120b", quantization)
    assert file.model.total_bytes == pytest.approx(GGML_ORG_BYTES, rel=0.005)
    assert file.model.dtype(TensorClass.ATTENTION) == "q8_0"
    assert file.assumptions == ()


@pytest.mark.parametrize("runtime", ["vllm", "ktransformers", FREETOKEN])
def test_programs_that_read_the_checkpoint_have_its_formats(runtime: str) -> None:
    """They load what was published."""
    file = load_model_for(runtime, "gpt-oss-120b", None)
    assert file.model.dtype(TensorClass.ATTENTION) == "bf16"
    eight = load_model_for(runtime, "deepseek-v3", None)
    assert eight.model.dtype(TensorClass.EXPERT) == "fp8"
    assert (eight.quantization, eight.assumptions) == (None, ())


@pytest.mark.parametrize("quantization", ["Q4_K_M", "4bit", "BF16", "UD-Q2_K_XL"])
@pytest.mark.parametrize("model", ["qwen3-30b-a3b", "deepseek-v3", "gpt-oss-20b"])
def test_a_format_of_gguf_stays_as_it_is_named(model: str, quantization: str) -> None:
    """Nothing is taken for it, whatever the checkpoint is in."""
    file = load_model_for(LLAMA_CPP, model, quantization)
    assert file.model.quantization == quantization
    assert (file.quantization, file.assumptions) == (quantization, ())
