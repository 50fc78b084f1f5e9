"""The answers of the page: plans as `rosin plan --runtime` finds them, once for each question."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwprofiles import InputError
from hwprofiles.errors import one_line
from planner.search.objectives import Goal
from planner.search.setting import Setting
from rosin.cli.failures import NoFeasiblePlan
from rosin.commands.plan.runtime_command import RuntimeAnswer, runtime_answer
from rosin.commands.plan.runtime_document import RuntimePlanResult
from rosin.commands.plan.runtime_options import RuntimePlanOptions
from rosin.web.question import PageQuestion
from sim.memo import remembered

if TYPE_CHECKING:
    from planner.search.first_answer import FirstAnswer

KEPT = 256
"""The number of answers that are kept, since sliders move back and forth over the same ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAnswer:
    """A plan for a runtime, with its document."""

    found: RuntimeAnswer
    result: RuntimePlanResult


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """The answer if there is no plan; ``reason`` is one line."""

    reason: str


def answer_to(question: PageQuestion) -> PageAnswer | NoAnswer:
    """Plan the page's question for one user; the number of answers at once is ignored."""
    try:
        return _answer(question.setting, question.runtime, question.room_tokens)
    except InputError as error:
        return NoAnswer(reason=one_line(str(error)))


def answer_for(
    question: PageQuestion, machine: str, overrides: tuple[str, ...] = ()
) -> PageAnswer | NoAnswer:
    """Plan the same load on another PC."""
    try:
        return _answer(question.on(machine, overrides), question.runtime, question.room_tokens)
    except InputError as error:
        return NoAnswer(reason=one_line(str(error)))


# Kept by what a plan depends on: the page's other fields do not make it plan again.
@remembered(KEPT)
def _answer(setting: Setting, runtime: str, room_tokens: int | None) -> PageAnswer | NoAnswer:
    said = RuntimePlanOptions(runtime=runtime, room_tokens=room_tokens)
    try:
        found = runtime_answer(setting, said, Goal())
    # Returned, not raised: what is raised would not be kept, and would be worked out again.
    except NoFeasiblePlan as error:
        return NoAnswer(reason=one_line(str(error)))
    return PageAnswer(found=found, result=found.document())


def first_answer_to(question: PageQuestion) -> "FirstAnswer | NoAnswer":
    """Return the best of a few usual combinations for several answers at once.

    A search of all policies may find a better one.
    """
    try:
        return _first_answer(question.simulated_setting)
    except InputError as error:
        return NoAnswer(reason=one_line(str(error)))


@remembered(KEPT)
def _first_answer(setting: Setting) -> "FirstAnswer | NoAnswer":
    # numba and the simulator are loaded by the first question of this kind, not with the page.
    from planner.search.first_answer import first_answer
    from planner.search.prepare import is_prepared
    from rosin.cli.memory_guard import refuse_large_plan

    if not is_prepared():
        return NoAnswer(reason="the search compiles the simulator on this computer first")
    question = setting.question()
    refuse_large_plan(question, num_draws=1, num_processes=1)
    found = first_answer(question, Goal())
    return NoAnswer(reason="no usual combination fits") if found is None else found


def plan_command(question: PageQuestion) -> str:
    """Return the command that gives the same plan on the command line."""
    room = [] if question.room_tokens is None else ["--room-tokens", str(question.room_tokens)]
    words = ["rosin", "plan", "--runtime", question.runtime]
    return shlex.join([*words, *setting_words(question.setting), *room])


def setting_words(setting: Setting) -> list[str]:
    """Return the options that state the page's setting."""
    words = ["--model", setting.model, "--machine", setting.machine]
    if setting.quantization is not None:
        words += ["--quantization", setting.quantization]
    words += ["--prompt-tokens", str(setting.prompt_tokens)]
    words += ["--output-tokens", str(setting.output_tokens)]
    if setting.batch_size > 1:
        words += ["--batch", str(setting.batch_size)]
    for override in setting.machine_overrides:
        words += ["--set", override]
    return words
