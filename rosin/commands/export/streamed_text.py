"""A plan's setting for programs that copy weights at every pass."""

from pathlib import Path

from planner.export.streaming import STREAMED, Streamed
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from planner.runtimes.plan_file import is_runtime_plan, load_runtime_plan
from planner.search.setting import Setting
from sim.runtimes import runtime_host

NOTE = (
    "{program} copies weights to the GPU at every pass and computes none on the CPU: this fits the "
    "memory, and its speed is not predicted"
)


def streamed_text(path: Path, program: str) -> tuple[str, tuple[str, ...]]:
    """Return the text for the plan's model, machine and load. Raises InputError."""
    setting, load, limits = _asked(path)
    plan = Streamed(
        model=setting.loaded_model(),
        model_name=setting.model,
        host=runtime_host(setting.loaded_machine()),
        load=load,
        limits=limits,
    )
    return STREAMED[program](plan), (NOTE.format(program=program),)


def _asked(path: Path) -> tuple[Setting, RuntimeLoad, RuntimeLimits]:
    if is_runtime_plan(path):
        plan = load_runtime_plan(path)
        return plan.setting, plan.load, plan.limits
    from planner.search.plan import load_plan

    setting = load_plan(path).setting
    load = RuntimeLoad(prompt_tokens=setting.prompt_tokens, output_tokens=setting.output_tokens)
    return setting, load, RuntimeLimits()
