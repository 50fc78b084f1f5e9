"""`rosin plan --runtime`: the best plan that a runtime's own arguments can state, to paste."""

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.output import Output
from rosin.cli.scenario import ScenarioOptions, read_options
from rosin.cli.sizes import read_size
from rosin.commands.plan.files import PlanFiles
from rosin.commands.plan.runtime_options import RuntimePlanOptions
from rosin.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.runtimes.asked import Asked
    from planner.runtimes.load import RuntimeLimits
    from planner.runtimes.plan_file import RuntimePlanFile
    from planner.runtimes.search import RuntimePlan
    from planner.search.objectives import Goal
    from planner.search.setting import Setting
    from rosin.commands.plan.runtime_document import AnyPolicy, RuntimePlanResult
    from sim.step.simulate import Run

LLAMAS = ("llama.cpp", "ik_llama.cpp")
"""Runtimes that store keys and values in a type that their arguments state."""

USED = (
    "model",
    "machine",
    "prompt_tokens",
    "output_tokens",
    "quantization",
    "kv_type",
    "seed",
    "settings",
    "reserve_vram",
    "plan",
    "engine",
    "draws",
)
"""Options of a scenario that a plan for a runtime takes."""


def check_options(options: ScenarioOptions) -> None:
    """Raise InputError for an option that a plan for a runtime does not take."""
    from hwprofiles import InputError

    options.refuse_others(
        USED, "--runtime, whose plan is for one user and chooses threads and layers itself"
    )
    schemes = options.quantization
    if schemes is not None and "," in schemes:
        raise InputError(f"--quantization {schemes}: one is taken with --runtime; plan for each")


def plan_for_runtime(
    options: ScenarioOptions,
    said: RuntimePlanOptions,
    goal: "Goal",
    *,
    files: PlanFiles,
    output: Output,
    best_policy: "Callable[[str | None], Run]",
) -> None:
    """Find the best arguments, write the plan, and print it.

    ``best_policy`` searches all policies, given the type of keys and values. Raises InputError for
    wrong input, and NoFeasiblePlan if nothing fits.
    """
    from rosin.commands.plan.runtime_page import runtime_plan_page

    request = read_options(options)
    # Here alone, so that who asks through a page names no file of this computer.
    said = replace(said, against=_of_file(said.runtime, said.against))
    with output.waiting(f"planning for {said.runtime}"):
        answer = _answer_or_smaller_file(request.setting, said, goal)
    if files.output_file is not None:
        from planner.runtimes.plan_file import save_runtime_plan

        save_runtime_plan(answer.file, files.output_file)
    # Any policy is searched with the type of keys and values that the plan has chosen.
    kv_type = answer.file.setting.kv_type
    result = answer.document(
        path=None if files.output_file is None else str(files.output_file),
        any_policy=_any_policy(best_policy(kv_type)) if said.any_policy else None,
    )
    if files.figure is not None:
        from hwprofiles.text_file import write_bytes
        from rosin.commands.plan.runtime_figure import draw_runtime_plan

        with output.waiting("drawing"):
            write_bytes(draw_runtime_plan(result, files.figure.suffix), files.figure)
    output.emit(
        result.model_dump(mode="json"),
        runtime_plan_page(result),
        provenance=answer.file.provenance,
        warnings=answer.notes,
    )
    # Behind the warnings, and as it is, since a table would break it at the terminal's width.
    if output.has_tables:
        sys.stdout.write(f"\npaste this:\n\n{result.command_line}\n")


SMALLER_FILES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K")
"""Mixes of llama.cpp's quantiser that people publish, the most bits first."""


def _answer_or_smaller_file(
    setting: "Setting", said: RuntimePlanOptions, goal: "Goal"
) -> "RuntimeAnswer":
    """Return the plan; if nothing fits and no format was asked for, name a smaller file that fits.

    The first of SMALLER_FILES that fits is named in the message. Raises NoFeasiblePlan if nothing
    fits.
    """
    try:
        return runtime_answer(setting, said, goal)
    except NoFeasiblePlan as error:
        # A file has its own format, and only llama.cpp's programs read these.
        is_file = setting.model.endswith(".gguf")
        if setting.quantization is not None or is_file or said.runtime not in LLAMAS:
            raise
        scheme = _first_that_fits(setting, said, goal)
        if scheme is None:
            raise
        raise NoFeasiblePlan(
            f"{error}; a file in {scheme} fits: --quantization {scheme}"
        ) from error


def _first_that_fits(setting: "Setting", said: RuntimePlanOptions, goal: "Goal") -> str | None:
    for scheme in SMALLER_FILES:
        with suppress(NoFeasiblePlan):
            runtime_answer(setting.model_copy(update={"quantization": scheme}), said, goal)
            return scheme
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeAnswer:
    """A plan for a runtime, its file, and the notes that a reader needs before trusting it."""

    plan: "RuntimePlan"
    file: "RuntimePlanFile"
    notes: tuple[str, ...]

    def document(
        self, *, path: str | None = None, any_policy: "AnyPolicy | None" = None
    ) -> "RuntimePlanResult":
        """Return the answer as the JSON shows it; ``path`` is the plan file that was written."""
        from planner.runtimes.plan_text import command_of, text_of
        from rosin.commands.plan.runtime_document import runtime_plan_result

        return runtime_plan_result(
            self.plan,
            self.file,
            command=list(command_of(self.file).all_words),
            command_line=text_of(self.file, "args").rstrip("\n"),
            path=path,
            any_policy=any_policy,
        )


def runtime_answer(setting: "Setting", said: RuntimePlanOptions, goal: "Goal") -> RuntimeAnswer:
    """Plan a setting for a runtime.

    Raises InputError for wrong input, and NoFeasiblePlan if nothing fits.
    """
    from planner.runtimes.search import NoRuntimePlan, plan_runtime
    from sim.runtimes import notes_on

    asked, assumptions = asked_of(setting, said, goal)
    plan = plan_runtime(asked, said.against)
    if isinstance(plan, NoRuntimePlan):
        raise NoFeasiblePlan(f"no feasible plan: {plan.reason}")
    file = plan_file(plan, _with_chosen_type(setting, plan), goal)
    return RuntimeAnswer(plan=plan, file=file, notes=(*notes_on(plan.best.question), *assumptions))


def _with_chosen_type(setting: "Setting", plan: "RuntimePlan") -> "Setting":
    """Return the setting with the chosen type of keys and values, if several were allowed."""
    from sim.runtimes.llama_cpp import LlamaArguments

    arguments = plan.best.arguments
    if setting.kv_type is None or not isinstance(arguments, LlamaArguments):
        return setting
    return setting.model_copy(update={"kv_type": arguments.key_type})


def plan_again(
    setting: "Setting", goal: "Goal", runtime: str, like: "RuntimePlanFile | None"
) -> "RuntimePlanFile":
    """Plan a setting for a runtime, with the rounds, room and limits of the plan ``like``, if
    given.

    Raises InputError for wrong input, and NoFeasiblePlan if nothing fits.
    """
    said = RuntimePlanOptions(runtime=runtime) if like is None else _options_like(runtime, like)
    # Other runtimes have a type of their own, and refuse to be told another.
    if runtime not in LLAMAS:
        setting = setting.model_copy(update={"kv_type": None})
    return runtime_answer(setting, said, goal).file


def answer_of_file(file: "RuntimePlanFile") -> RuntimeAnswer:
    """Price the arguments of a plan file anew, with its load and limits, beside its rivals.

    Raises InputError if the arguments are wrong, or do not fit the machine.
    """
    from planner.runtimes.search import stated_plan
    from sim.runtimes import notes_on

    said = _options_like(file.runtime.name, file)
    asked, assumptions = asked_of(file.setting, said, file.goal)
    plan = stated_plan(asked, file.runtime.line)
    return RuntimeAnswer(plan=plan, file=file, notes=(*notes_on(plan.best.question), *assumptions))


def _options_like(runtime: str, like: "RuntimePlanFile") -> RuntimePlanOptions:
    """Return the options for a plan with the rounds, room and limits of the plan ``like``."""
    return RuntimePlanOptions(
        runtime=runtime,
        rounds=like.rounds,
        room_tokens=like.room_tokens,
        vram_margin=str(like.limits.margin_vram_bytes),
        reserve_ram=str(like.limits.reserve_ram_bytes),
    )


def plan_file(plan: "RuntimePlan", setting: "Setting", goal: "Goal") -> "RuntimePlanFile":
    """Return the plan as it stands in a plan file."""
    from pydantic import TypeAdapter

    from planner.runtimes.plan_file import RuntimePlanFile, call_of
    from rosin.commands.plan.runtime_document import predicted_round
    from rosin.commands.simulate.runtime_document import MemoryByDevice
    from sim.runtimes.constants import shipped

    constants = shipped()
    predicted = predicted_round(plan).model_dump(mode="json")
    memory = TypeAdapter(MemoryByDevice).dump_python(dict(plan.prediction.memory))
    predicted["memory_bytes"] = memory
    return RuntimePlanFile(
        version=__version__,
        setting=setting,
        rounds=plan.asked.load.rounds,
        room_tokens=plan.asked.load.room_tokens,
        limits=plan.asked.limits,
        objective=goal.objective,
        constraints=goal.model_dump(mode="json", exclude={"objective"}),
        runtime=call_of(plan.best),
        predicted=predicted,
        provenance={
            "kind": str(constants.kind),
            "source": constants.source,
            "date": constants.date,
        },
    )


def asked_of(
    setting: "Setting", said: RuntimePlanOptions, goal: "Goal"
) -> tuple["Asked", tuple[str, ...]]:
    """Return the question, and the assumptions about the model's file and the machine.

    Raises InputError for wrong input.
    """
    from planner.runtimes.asked import Asked
    from planner.runtimes.load import RuntimeLoad
    from sim.runtimes import host_assumptions, kernel_format, runtime_host
    from sim.runtimes.gguf_tensors import tensors_of
    from sim.runtimes.model_files import load_model_for

    assert said.runtime is not None
    machine = setting.loaded_machine()
    file = load_model_for(said.runtime, setting.model, setting.quantization)
    asked = Asked(
        runtime=said.runtime,
        model=file.model,
        quantization=kernel_format(file.model, file.quantization),
        host=runtime_host(machine),
        load=RuntimeLoad(
            prompt_tokens=setting.prompt_tokens,
            output_tokens=setting.output_tokens,
            rounds=said.rounds or 1,
            room_tokens=said.room_tokens,
        ),
        limits=_limits(said),
        tensors=tensors_of(file.model, setting.model, file.quantization),
        kv_types=_kv_types(said, setting.kv_type),
        objective=goal.objective,
        max_ttft_s=goal.max_ttft_s,
    )
    return asked, (*file.assumptions, *host_assumptions(machine))


def _of_file(runtime: str | None, against: str | None) -> str | None:
    """Return the arguments in a file, if ``against`` names one; else return ``against`` itself.

    The arguments are returned in the runtime's own form. Raises InputError for a file that cannot
    be read.
    """
    from hwprofiles.input_file import is_there, read_text
    from planner.export.runtimes import WRITERS

    # Text that names no file is the arguments themselves.
    if against is None or runtime is None or runtime not in WRITERS or not is_there(Path(against)):
        return against
    text = read_text(Path(against), "arguments", "text")
    return WRITERS[runtime].arguments_in("args", _one_command(text))


def _one_command(script: str) -> str:
    """Return a script's only command, without comments and with its broken lines joined."""
    lines = (line for line in script.splitlines() if not line.lstrip().startswith("#"))
    return "\n".join(lines).replace("\\\n", " ").strip()


def _limits(said: RuntimePlanOptions) -> "RuntimeLimits":
    from planner.runtimes.load import RuntimeLimits

    values = RuntimeLimits().model_dump()
    if said.vram_margin is not None:
        values["margin_vram_bytes"] = int(read_size("--vram-margin", said.vram_margin))
    if said.reserve_ram is not None:
        values["reserve_ram_bytes"] = int(read_size("--reserve-ram", said.reserve_ram))
    # Weights of other models are memory that this one must leave free, like the margin.
    values["margin_vram_bytes"] += _loaded_bytes(said.also_loaded)
    return RuntimeLimits.model_validate(values)


def _loaded_bytes(names: str | None) -> int:
    """Return the bytes of the weights of the named models, which also lie on the GPU.

    Raises InputError for an unknown model.
    """
    from sim.model.library import load_model

    if names is None:
        return 0
    return sum(load_model(name.strip()).total_bytes for name in names.split(","))


def _kv_types(said: RuntimePlanOptions, kv_type: str | None) -> tuple[str, ...]:
    """Return the allowed types of keys and values. Raises InputError for an unknown one."""
    from hwprofiles import InputError, unknown_name
    from sim.runtimes.llama_cpp.arguments import KV_TYPES

    if kv_type is None:
        # What llama.cpp does where it is told nothing.
        return ("f16",)
    if said.runtime not in LLAMAS:
        raise InputError(f"--kv-type: {said.runtime} keeps keys and values in bf16")
    names = tuple(name.strip().lower() for name in kv_type.split(","))
    wrong = next((name for name in names if name not in KV_TYPES), None)
    if wrong is not None:
        raise unknown_name("kv type", wrong, KV_TYPES)
    return names


def _any_policy(best: "Run") -> "AnyPolicy":
    """Return the figures that the best policy reaches."""
    from rosin.commands.plan.runtime_document import AnyPolicy

    return AnyPolicy.of(best.metrics, policy=best.scenario.policy.name)
