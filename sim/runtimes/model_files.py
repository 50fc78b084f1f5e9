"""A model as the files of a program store it."""

from sim.model.library import load_model
from sim.model.model import Model
from sim.runtimes.caching.arguments import EXPERT_CACHE, POOLED_CACHE, STATIC_CACHE
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP

GGUF_PROGRAMS = frozenset({LLAMA_CPP, IK_LLAMA_CPP, EXPERT_CACHE, POOLED_CACHE, STATIC_CACHE})
"""Programs that read GGUF files alone."""


def load_model_for(runtime: str, name: str, quantization: str | None) -> Model:
    """Load a model as the runtime's file of it stores it.

    Where a checkpoint has experts in MXFP4 and the rest in 16 bit, a GGUF file of it has the rest
    in Q8_0: llama-quant.cpp, MOSTLY_MXFP4_MOE; gpt-oss-120b of 59.02 GiB in llama.cpp pull request
    19922. Raises InputError as ``load_model`` does.
    """
    model = load_model(name, quantization)
    if runtime in GGUF_PROGRAMS and model.quantization == "mxfp4":
        return load_model(name, "MXFP4_MOE")
    return model
