"""What llama.cpp and ik_llama.cpp are started with."""

from planner.export.llama_cpp.arguments import llama_environment, llama_words
from planner.export.llama_cpp.forms import FORMS, arguments_in
from planner.export.llama_cpp.placements import expert_overrides

__all__ = ["FORMS", "arguments_in", "expert_overrides", "llama_environment", "llama_words"]
