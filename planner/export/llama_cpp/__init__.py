"""The arguments that llama.cpp and ik_llama.cpp are started with."""

from planner.export.llama_cpp.arguments import llama_environment, llama_words
from planner.export.llama_cpp.forms import (
    FORMS,
    arguments_in,
    file_words,
    left_out,
    llama_model_words,
)
from planner.export.llama_cpp.placements import expert_overrides

__all__ = [
    "FORMS",
    "arguments_in",
    "expert_overrides",
    "file_words",
    "left_out",
    "llama_environment",
    "llama_model_words",
    "llama_words",
]
