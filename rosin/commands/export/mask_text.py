"""A policy's plan for KTransformers, expert by expert: a file of counts, and its flags."""

from pathlib import Path

from planner.export.ktransformers.mask import logical_count, mask_words
from rosin.cli.torch_needed import require_torch
from rosin.commands.export.placed_experts import NOTE, placed_experts


def write_mask(path: Path, target: Path) -> tuple[str, tuple[str, ...]]:
    """Write the experts that the plan places to ``target``; return the flags, and notes for the
    reader.

    Raises InputError for a plan that places no experts by name.
    """
    model, experts = placed_experts(path, "mask")
    counts = logical_count(model, experts)
    # The plan is read first: what is wrong with it shows without torch, too.
    require_torch("--form mask writes a file")
    from validation.runtimes.ktransformers import save_mask

    save_mask(counts, target)
    words = " ".join(mask_words(model, counts, str(target)))
    return words + "\n", (NOTE.format(file="mask", program="KTransformers"),)
