"""The arguments that vLLM is started with."""

from planner.export.vllm.forms import FORMS, arguments_in, vllm_words

__all__ = ["FORMS", "arguments_in", "vllm_words"]
