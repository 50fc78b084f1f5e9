"""The experts that are on the GPU at the start of a policy's plan, by number."""

from pathlib import Path

from hwprofiles import InputError
from planner.runtimes.plan_file import is_runtime_plan
from sim.model.model import Model
from sim.policies.placement.explicit import ExplicitPlacement

NOTE = (
    "the {file} is the plan's placement; {program} computes misses on the CPU, whatever else the "
    "plan's policy does, so its speed is not that of the plan"
)


def placed_experts(path: Path, form: str) -> tuple[Model, tuple[tuple[int, ...], ...]]:
    """Return the plan's model, and for each layer the experts on the GPU at the start.

    Raises InputError for a plan that places no experts by name. ``form`` is named in the message.
    """
    from planner.search.plan import load_plan

    if is_runtime_plan(path):
        raise InputError(f"{path} is a plan for a runtime; --form {form} takes a plan of a policy")
    plan = load_plan(path)
    placement = plan.policy.placement
    if not isinstance(placement, ExplicitPlacement):
        raise InputError(f"{path}: {plan.policy.name} names no experts that start on the GPU")
    model = plan.setting.loaded_model()
    # A plan file states its model and its placement apart, so the two may disagree.
    placement.check(model)
    return model, tuple(tuple(layer) for layer in placement.experts)
