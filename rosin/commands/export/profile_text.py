"""A policy's plan for llama.cpp's static expert cache: a CSV of selections and the flags that name
it.
"""

from pathlib import Path

from hwprofiles.text_file import write_text
from planner.export.llama_cpp.routing_profile import profile_csv, profile_words
from planner.export.runtime_command import quoted
from rosin.commands.export.placed_experts import NOTE, placed_experts

FORK = (
    "--moe-cache-profile is of the fork thecodacus/llama.cpp (pull request 5); llama.cpp does not "
    "have it"
)


def write_profile(path: Path, target: Path) -> tuple[str, tuple[str, ...]]:
    """Write the experts that the plan places to ``target``; return the flags, and notes for the
    reader.

    Raises InputError for a plan that places no experts by name.
    """
    model, experts = placed_experts(path, "profile")
    write_text(profile_csv(model, experts), target)
    words = " ".join(map(quoted, profile_words(experts, str(target))))
    return words + "\n", (FORK, NOTE.format(file="profile", program="the fork"))
