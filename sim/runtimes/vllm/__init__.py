"""vLLM: the meaning of its arguments, and the weights that it leaves in host memory."""

from sim.runtimes.vllm.arguments import VllmArguments, read_vllm_arguments

__all__ = ["VllmArguments", "read_vllm_arguments"]
