"""llama.cpp and ik_llama.cpp: the meaning of their arguments, and where they put tensors."""

from sim.runtimes.llama_cpp.arguments import LlamaArguments, read_llama_arguments
from sim.runtimes.llama_cpp.overrides import CpuExperts, Override, read_overrides

__all__ = ["CpuExperts", "LlamaArguments", "Override", "read_llama_arguments", "read_overrides"]
