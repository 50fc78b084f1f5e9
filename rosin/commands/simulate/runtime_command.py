"""`rosin simulate --runtime`: the speed of a runtime with the user's own arguments."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output, OutputOptions
from rosin.cli.scenario import ScenarioOptions

if TYPE_CHECKING:
    from sim.runtimes import RuntimePrediction, RuntimeQuestion

RuntimeOption = Annotated[
    str | None,
    named(
        "--runtime",
        "NAME",
        "Predict this program instead of a policy: llama.cpp, ik_llama.cpp or ktransformers.",
    ),
]
RuntimeArgsOption = Annotated[
    str | None, named("--runtime-args", "ARGS", "Its arguments, as typed, in quotes.")
]
ContextOption = Annotated[
    int | None,
    named(
        "--context-tokens",
        "N",
        "Tokens before the one that is decoded; otherwise the prompt's.",
        least=0,
    ),
]
DEFAULT_PROMPT_TOKENS = 512
NEEDED = "; a runtime needs a machine and a model"
# What a runtime's own arguments leave open; all other options of a scenario are refused.
USED = (
    "model",
    "machine",
    "prompt_tokens",
    "quantization",
    "kv_type",
    "seed",
    "settings",
    "engine",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions(OptionGroup):
    """The options of a runtime, as typed."""

    runtime: RuntimeOption = None
    runtime_args: RuntimeArgsOption = None
    context_tokens: ContextOption = None


def simulate_runtime(options: ScenarioOptions, asked: RuntimeOptions, said: OutputOptions) -> None:
    """Predict the runtime's speeds and print them. Raises InputError for wrong input."""
    from hwprofiles import InputError

    if options.output_tokens is not None:
        raise InputError(
            "--output-tokens does not go with --runtime, which is predicted at --context-tokens; "
            f"rosin plan --runtime {asked.runtime} --against ARGUMENTS times a whole answer"
        )
    options.refuse_others(USED, "--runtime, whose own arguments decide that")
    question, assumptions = _question(options, asked)
    _say(
        question,
        assumptions,
        line=asked.runtime_args or "",
        machine=str(options.machine),
        output=said.with_seed(options.seed or 0),
    )


def simulate_runtime_plan(options: ScenarioOptions, said: OutputOptions) -> None:
    """Predict a runtime's plan again from its file. Raises InputError for wrong input."""
    from planner.runtimes.load import with_room
    from planner.runtimes.plan_file import load_runtime_plan
    from sim.runtimes import RuntimeQuestion, host_assumptions, kernel_format, runtime_host
    from sim.runtimes.asking import read_runtime_arguments
    from sim.runtimes.gguf_tensors import tensors_of
    from sim.runtimes.model_files import load_model_for

    assert options.plan is not None
    options.refuse_others(("plan", "seed", "engine"), "a plan for a runtime, which states it")
    plan = load_runtime_plan(options.plan)
    machine = plan.setting.loaded_machine()
    runtime = plan.runtime.name
    file = load_model_for(runtime, plan.setting.model, plan.setting.quantization)
    question = RuntimeQuestion(
        runtime=runtime,
        arguments=with_room(read_runtime_arguments(runtime, plan.runtime.line), plan.load),
        model=file.model,
        quantization=kernel_format(file.model, file.quantization),
        host=runtime_host(machine),
        context_tokens=plan.load.decode_context_tokens,
        prompt_tokens=plan.load.prompt_tokens,
        prompt_context_tokens=plan.load.prompt_context_tokens,
        tensors=tensors_of(file.model, plan.setting.model, file.quantization),
    )
    _say(
        question,
        (*file.assumptions, *host_assumptions(machine)),
        line=plan.runtime.line,
        machine=plan.setting.machine,
        output=said.with_seed(options.seed or 0),
    )


def _say(
    question: "RuntimeQuestion",
    assumptions: tuple[str, ...],
    *,
    line: str,
    machine: str,
    output: Output,
) -> None:
    """Predict the answer to a question and print it."""
    from rosin.commands.simulate.runtime_document import runtime_result
    from rosin.commands.simulate.runtime_page import runtime_page
    from sim.runtimes import notes_on, predict

    prediction = predict(question)
    # The bytes are part of the prediction, so they are checked after it.
    _check_memory(question, prediction)
    result = runtime_result(
        prediction,
        runtime=question.runtime,
        runtime_args=line,
        machine=machine,
        model=question.model.name,
        quantization=question.quantization,
        context_tokens=question.context_tokens,
        prompt_tokens=question.prompt_tokens,
    )
    output.emit(
        result.model_dump(mode="json"),
        runtime_page(result),
        warnings=(*notes_on(question), *assumptions),
    )


def _question(
    options: ScenarioOptions, asked: RuntimeOptions
) -> tuple["RuntimeQuestion", tuple[str, ...]]:
    """Return the question, and the assumptions about the model's file and the machine."""
    from hwprofiles import InputError, load_machine
    from rosin.cli.settings import split_settings
    from sim.runtimes import (
        RuntimeQuestion,
        host_assumptions,
        kernel_format,
        read_runtime_arguments,
        runtime_host,
        with_kv_type,
    )
    from sim.runtimes.model_files import load_model_for

    assert asked.runtime is not None
    overrides, parameters = split_settings(options.settings or ())
    if parameters:
        raise InputError(
            f"--set {next(iter(parameters))}: no number of the machine, and a runtime has no parameters"
        )
    arguments = read_runtime_arguments(asked.runtime, asked.runtime_args or "")
    if options.kv_type is not None:
        arguments = with_kv_type(arguments, options.kv_type)
    machine = load_machine(options.needed("machine", NEEDED), overrides)
    file = load_model_for(asked.runtime, options.needed("model", NEEDED), options.quantization)
    prompt_tokens = options.prompt_tokens or DEFAULT_PROMPT_TOKENS
    question = RuntimeQuestion(
        runtime=asked.runtime,
        arguments=arguments,
        model=file.model,
        quantization=kernel_format(file.model, file.quantization),
        host=runtime_host(machine),
        # A context of 0 tokens may be asked for, so only what was not said is the prompt's.
        context_tokens=prompt_tokens if asked.context_tokens is None else asked.context_tokens,
        prompt_tokens=prompt_tokens,
    )
    return question, (*file.assumptions, *host_assumptions(machine))


def _check_memory(question: "RuntimeQuestion", prediction: "RuntimePrediction") -> None:
    """Raise NoFeasiblePlan, naming every GPU that is too small for its weights and KV cache."""
    from hwprofiles.units import format_bytes
    from sim.runtimes.memory import overfull

    over = overfull(question, prediction.memory)
    if over:
        each = "; ".join(f"{name}: {format_bytes(size)} too much" for name, size in over.items())
        raise NoFeasiblePlan(
            f"no feasible plan: weights and KV cache do not fit GPU memory; {each}"
        )
