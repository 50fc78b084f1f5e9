"""A plan for a runtime in the forms that the runtime reads, each checked against the plan."""

from pathlib import Path

from planner.export.checking import check_text
from planner.export.runtime_command import RuntimeCommand
from planner.export.runtimes import WRITERS, runtime_text
from planner.runtimes.plan_file import RuntimePlanFile


def command_of(plan: RuntimePlanFile) -> RuntimeCommand:
    """Return the plan's command, before it has a form."""
    load = plan.load
    model = plan.setting.model
    return RuntimeCommand(
        runtime=plan.runtime.name,
        model_name=Path(model).stem if model.endswith(".gguf") else model,
        model_words=WRITERS[plan.runtime.name].model_words(model),
        words=plan.runtime.arguments,
        environment=plan.runtime.environment,
        prompt_tokens=load.prompt_tokens,
        output_tokens=load.output_tokens,
        depths_tokens=(
            load.prompt_context_tokens,
            load.prompt_context_tokens + load.prompt_tokens,
        ),
    )


def text_of(plan: RuntimePlanFile, form: str) -> str:
    """Return the plan in a form. Raises InputError for a form that the runtime does not have.

    The text is read back first: it must say what the plan says.
    """
    text = runtime_text(form, command_of(plan))
    # A writer that drops or reorders an argument would change where bytes go, unseen.
    check_text(plan.runtime.name, plan.runtime.line, form, text)
    return text


def left_out_of(plan: RuntimePlanFile, form: str) -> tuple[str, ...]:
    """Return notes for the reader on what the form cannot say of the plan."""
    return WRITERS[plan.runtime.name].left_out(form, command_of(plan))
