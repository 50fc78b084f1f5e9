"""Any plan in a form that a runtime reads; one that is not for it is planned anew."""

from pathlib import Path

from planner.runtimes.plan_file import RuntimePlanFile, is_runtime_plan, load_runtime_plan
from planner.runtimes.plan_text import left_out_of, text_of


def plan_text(path: Path, to: str, form: str) -> tuple[str, tuple[str, ...]]:
    """Return a plan file in a form of the runtime, and what a reader must know.

    A plan of a policy, or for another runtime, is planned anew for this one: its placement need not
    be one that this runtime can express. Raises InputError, and NoFeasiblePlan where nothing fits.
    """
    if is_runtime_plan(path):
        plan = load_runtime_plan(path)
        if plan.runtime.name == to:
            return text_of(plan, form), left_out_of(plan, form)
        return _planned_anew(plan, to, form)
    return _of_policy(path, to, form)


def _planned_anew(plan: RuntimePlanFile, to: str, form: str) -> tuple[str, tuple[str, ...]]:
    """Return the best of this runtime for the load of a plan for another."""
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
    """Return the best of this runtime for the setting of a plan of any policy."""
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
    """Say how much slower or faster a run is."""
    change = after_s / before_s - 1
    # A smaller change would be printed as 0 %.
    if abs(change) < 0.005:
        return "as fast"
    return f"{abs(change):.0%} {'slower' if change > 0 else 'faster'}"
