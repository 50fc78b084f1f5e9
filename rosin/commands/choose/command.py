"""`rosin choose`: the best way on a machine to run experts that do not fit the GPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.options import (
    MachineOption,
    ModelOption,
    QuantizationOption,
    SetOption,
)
from rosin.cli.output import Output

if TYPE_CHECKING:
    from sim.model.model import Model

PromptOption = Annotated[
    int, typer.Option("--prompt-tokens", metavar="N", min=1, help="Tokens of the prompt.")
]
AnswerOption = Annotated[
    int, typer.Option("--output-tokens", metavar="N", min=1, help="Tokens of the answer.")
]
DraftsOption = Annotated[
    int,
    typer.Option(
        "--drafts", metavar="K", min=0, max=64, help="Drafts that a step checks; 0: none."
    ),
]
AcceptanceOption = Annotated[
    float, typer.Option("--acceptance", metavar="SHARE", help="Share of drafts kept, each.")
]
DraftCostOption = Annotated[
    float,
    typer.Option("--draft-cost", metavar="SHARE", min=0, help="Time of a draft over a token's."),
]
FigureOption = Annotated[
    Path | None, named("--figure", "FILE", "Draw the speeds and their ranges: .png, .svg or .pdf.")
]
DEFAULT_PROMPT_TOKENS = 512
DEFAULT_OUTPUT_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceOptions(OptionGroup):
    """The model, the machine and the lengths of prompt and answer, as typed."""

    model: ModelOption = None
    machine: MachineOption = None
    quantization: QuantizationOption = None
    prompt_tokens: PromptOption = DEFAULT_PROMPT_TOKENS
    output_tokens: AnswerOption = DEFAULT_OUTPUT_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOptions(OptionGroup):
    """The drafts of a speculative decode, as typed."""

    drafts: DraftsOption = 0
    acceptance: AcceptanceOption = 0.8
    draft_cost: DraftCostOption = 0.02


def choose(
    *,
    asked: ChoiceOptions,
    drafting: DraftOptions,
    settings: SetOption = None,
    figure: FigureOption = None,
    output: Output,
) -> None:
    """Choose static layers, hybrid, fetching or an expert cache."""
    from hwprofiles import InputError, load_machine
    from hwprofiles.text_file import write_bytes
    from planner.choice import Drafts, choice_question, with_drafts
    from planner.choice import choose as choose_arm
    from rosin.cli.settings import split_settings
    from rosin.commands.choose.document import choose_result
    from rosin.commands.choose.figure import draw
    from rosin.commands.choose.page import choose_page
    from rosin.report.figure_style import check_figure
    from sim.runtimes import host_assumptions, kernel_format
    from sim.runtimes.llama_cpp.arguments import LLAMA_CPP
    from sim.runtimes.model_files import load_model_for

    # A wrong file name should fail before the work, not after it.
    if figure is not None:
        check_figure(figure)
    if asked.model is None or asked.machine is None:
        raise InputError("rosin choose needs --model and --machine")
    overrides, parameters = split_settings(settings or ())
    # Settings that are no number of the machine are parameters of policies, and there is no policy
    # here.
    if parameters:
        raise InputError(f"--set {next(iter(parameters))}: no number of the machine")
    batch = Drafts(
        num_drafts=drafting.drafts,
        acceptance_fraction=drafting.acceptance,
        cost_fraction=drafting.draft_cost,
    )
    profile = load_machine(asked.machine, overrides)
    file = load_model_for(LLAMA_CPP, asked.model, asked.quantization)
    if file.model.is_dense:
        raise InputError(f"{file.model.name} has no experts, so there is nothing to choose")
    scheme = kernel_format(file.model, file.quantization)
    checkpoint = _checkpoint(asked.model, asked.quantization)
    question = choice_question(
        profile, file.model, scheme, asked.prompt_tokens, asked.output_tokens, checkpoint
    )
    with output.waiting("pricing every way to run it"):
        choice = choose_arm(question)
    if not choice.arms:
        raise NoFeasiblePlan(f"no feasible plan: {choice.left_out[0].reason}")
    drafted = {}
    if drafting.drafts:
        drafted = {own.arm.arm: with_drafts(question, own.arm, batch) for own in choice.arms}
    result = choose_result(
        choice,
        drafted,
        machine=profile.name,
        model=file.model.name,
        quantization=scheme,
        prompt_tokens=asked.prompt_tokens,
        output_tokens=asked.output_tokens,
        locality=question.locality.source,
    )
    if figure is not None:
        with output.waiting("drawing"):
            write_bytes(draw(result, figure.suffix), figure)
    output.emit(
        result.model_dump(mode="json"),
        choose_page(result),
        warnings=(*file.assumptions, *host_assumptions(profile)),
    )


def _checkpoint(model: str, quantization: str | None) -> "Model | None":
    """Return the model as FreeToken loads it, or None if FreeToken cannot load that format."""
    from hwprofiles import InputError
    from sim.runtimes.caching.arguments import FREETOKEN
    from sim.runtimes.model_files import load_model_for

    try:
        return load_model_for(FREETOKEN, model, quantization).model
    except InputError:
        # llama.cpp's file was read before, so nothing else is wrong.
        return None
