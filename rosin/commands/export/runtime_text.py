"""A plan in a form that a runtime reads; a plan of another kind is planned anew for the runtime."""

from pathlib import Path

from planner.runtimes.plan_file import RuntimePlanFile, is_runtime_plan, load_runtime_plan
from planner.runtimes.plan_text import left_out_of, text_of


def plan_text(path: Path, to: str, form: str) -> tuple[str, tuple[str, ...]]:
    """Return a plan file in a form of the runtime ``to``, and notes for the reader.

    A policy's plan, or a plan for another runtime, is planned anew, since this runtime may be
    unable to express its placement. Raises InputError for wrong input, and NoFeasiblePlan if
    nothing fits.
    """
    if is_runtime_plan(path):
        plan = load_runtime_plan(path)
        if plan.runtime.name == to:
            return text_of(plan, form), left_out_of(plan, form)
        return _planned_anew(plan, to, form)
    return _of_policy(path, to, form)


def _planned_anew(plan: RuntimePlanFile, to: str, form: str) -> tuple[str, tuple[str, ...]]:
    """Return the best plan of runtime ``to`` for the load of another runtime's plan."""
    from rosin.commands.plan.runtime_command import plan_again

    found = plan_again(plan.setting, plan.goal, to, plan)
    before = float(plan.predicted["end_to_end_s"])
    after = float(found.predicted["end_to_end_s"])
    said = (
        f"the plan is for {plan.runtime.name}: this is the best that {to} can express for its "
        f"load, {_compared(before, after)}"
    )
    return text_of(found, form), (said, *left_out_of(found, form))


def _of_policy(path: Path, to: str, form: str) -> tuple[str, tuple[str, ...]]:
    """Return the best plan of runtime ``to`` for the setting of a policy's plan."""
    from planner.search.plan import load_plan
    from rosin.commands.plan.runtime_command import plan_again

    plan = load_plan(path)
    found = plan_again(plan.setting, plan.goal, to, None)
    before = float(plan.predicted["end_to_end_s"])
    after = float(found.predicted["end_to_end_s"])
    said = (
        f"{plan.policy.name} places expert by expert: this is the best that {to} can express for "
        f"its load, {_compared(before, after)} (the plan is simulated, the other predicted)"
    )
    return text_of(found, form), (said, *left_out_of(found, form))


def _compared(before_s: float, after_s: float) -> str:
    """Return in words how much slower or faster the second run is."""
    change = after_s / before_s - 1
    # A smaller change would be printed as 0 %.
    if abs(change) < 0.005:
        return "as fast"
    return f"{abs(change):.0%} {'slower' if change > 0 else 'faster'}"
