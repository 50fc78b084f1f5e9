"""A plan of a policy for KTransformers, expert by expert: a file of counts, and the flags for it."""

from pathlib import Path

from hwprofiles import InputError
from planner.export.ktransformers.mask import logical_count, mask_words
from planner.runtimes.plan_file import is_runtime_plan
from rosin.cli.torch_needed import require_torch
from sim.policies.placement.explicit import ExplicitPlacement

NOTE = (
    "the mask is the plan's placement; KTransformers computes misses on the CPU, whatever else the "
    "plan's policy does, so its speed is not that of the plan"
)


def write_mask(path: Path, target: Path) -> tuple[str, tuple[str, ...]]:
    """Write the experts that the plan places to ``target``; return the flags, and what to know.

    Raises InputError for a plan that places no experts by name.
    """
    from planner.search.plan import load_plan

    if is_runtime_plan(path):
        raise InputError(f"{path} is a plan for a runtime; --form mask takes a plan of a policy")
    plan = load_plan(path)
    placement = plan.policy.placement
    if not isinstance(placement, ExplicitPlacement):
        raise InputError(f"{path}: {plan.policy.name} names no experts that start on the GPU")
    model = plan.setting.loaded_model()
    placement.check(model)
    counts = logical_count(model, placement.experts)
    require_torch("--form mask writes a file")
    from validation.runtimes.ktransformers import save_mask

    save_mask(counts, target)
    return " ".join(mask_words(model, counts, str(target))) + "\n", (NOTE,)
