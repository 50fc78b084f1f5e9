"""The page of a plan for a runtime, with sliders over plans that were computed beforehand."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hwprofiles import InputError, validated
from hwprofiles.units import format_bytes, format_duration
from planner.runtimes.plan_file import RuntimePlanFile, load_runtime_plan
from planner.runtimes.plan_text import text_of
from planner.search.setting import Setting
from rosin.cli.failures import NoFeasiblePlan
from rosin.commands.plan.runtime_command import answer_of_file, plan_again
from rosin.commands.plan.runtime_document import RuntimePlanResult
from rosin.commands.simulate.runtime_document import SpeedRange
from rosin.commands.simulate.runtime_page import (
    coverage_words,
    limit_words,
    memory_parts,
    number_words,
    range_words,
    speed_words,
)
from rosin.report.html.markup import Section, facts, table
from rosin.report.html.page import Page
from rosin.report.sliders import GPU_MEMORY, PROMPT, STEPS, shown

WHOLE = ' class="whole"'
"""The attribute of a cell that is as wide as the page, since commands are long."""
COLUMNS = ("answer, tokens/s", "prompt, tokens/s", "whole answer after", "command")


@dataclass(frozen=True, slots=True, kw_only=True)
class SliderPoint:
    """One position of a slider: its value in words, and the cells of the plan there."""

    words: str
    cells: tuple[str, ...]


def runtime_plan_page(data: Mapping[str, Any], source: Path) -> Page:
    """Return the page of a document of `rosin plan --runtime --json`.

    Raises InputError for a wrong document.
    """
    keys = RuntimePlanResult.model_fields
    # The file also has the envelope's keys, which the result would refuse as unknown.
    result = validated(RuntimePlanResult, {key: data.get(key) for key in keys}, source)
    plan = validated(RuntimePlanFile, result.plan, f"{source}: plan")
    return _page(result, plan, data.get("warnings") or ())


def runtime_plan_file_page(source: Path) -> Page:
    """The page of a plan file for a runtime, whose arguments are priced anew. Raises InputError."""
    plan = load_runtime_plan(source)
    try:
        answer = answer_of_file(plan)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return _page(answer.document(path=str(source)), plan, answer.notes)


def _page(result: RuntimePlanResult, plan: RuntimePlanFile, warnings: Iterable[str]) -> Page:
    both = result.predicted
    return Page(
        title=f"{result.model} ({result.quantization}) with {result.runtime} on {result.machine}",
        answer=f"{speed_words(both.decode)} for the answer, {speed_words(both.prefill)} for the "
        f"prompt; all of it after {format_duration(both.end_to_end_s)}.",
        command=result.command_line,
        sections=[*_sections(result), *_sliders(plan)],
        warnings=list(warnings),
    )


def _sections(result: RuntimePlanResult) -> Iterator[Section]:
    both = result.predicted
    yield Section(
        title="Speed",
        lead=f"For {result.prompt_tokens:,} prompt tokens and {result.output_tokens:,} answered. "
        f"It all rests on {result.rests_on}; {coverage_words(both.decode)}. Predicted, not "
        "measured.",
        body=facts(
            [
                ("answer", speed_words(both.decode)),
                ("answer limited by", limit_words(both.decode)),
                ("prompt", speed_words(both.prefill)),
                ("prompt limited by", limit_words(both.prefill)),
                ("first token after", format_duration(both.ttft_s)),
                ("whole answer after", format_duration(both.end_to_end_s)),
            ]
        ),
    )
    yield Section(
        title="Memory",
        lead=f"{result.placed[:1].upper()}{result.placed[1:]}.",
        body=_memory(result),
    )
    yield Section(
        title="Beside what people run",
        lead="The same program started in other ways, on the same machine.",
        body=_rivals(result),
    )


def _memory(result: RuntimePlanResult) -> str:
    rows = []
    for name in result.memory_bytes:
        parts = memory_parts(result.memory_bytes, name)
        room = result.room_bytes.get(name)
        rows.append(
            (
                name,
                *(format_bytes(size) for _, size in parts),
                format_bytes(sum(size for _, size in parts)),
                "unknown" if room is None else format_bytes(round(room)),
            )
        )
    heads = [head for head, _ in memory_parts(result.memory_bytes, "host")]
    return table("Memory by device", ("memory", *heads, "together", "of free"), rows)


def _rivals(result: RuntimePlanResult) -> str:
    rows = [
        (
            row.name,
            *(
                "" if value is None else number_words(value)
                for value in (row.decode_tokens_per_s, row.prefill_tokens_per_s)
            ),
            row.reason or f"{row.speed_fraction or 0.0:.0%}",
        )
        for row in sorted(result.rivals, key=lambda row: -(row.speed_fraction or 0.0))
    ]
    columns = ("compared with", "answer, tokens/s", "prompt, tokens/s", "of the plan")
    return table("Other ways to start it", columns, rows)


def _sliders(plan: RuntimePlanFile) -> Iterator[Section]:
    """Yield sliders that each move one number, with all else as in the plan."""
    setting = plan.setting
    machine = setting.loaded_machine()
    own = GPU_MEMORY.own(machine)
    if own is not None:
        points = []
        for step in STEPS:
            moved = GPU_MEMORY.overrides(machine, own * step)
            kept = {"machine_overrides": (*setting.machine_overrides, *moved)}
            words = f"{shown(own * step)} {GPU_MEMORY.unit}"
            points.append(_point(plan, words, setting.model_copy(update=kept)))
        yield _slider(GPU_MEMORY.label, points, STEPS.index(1.0))
    # Few tokens times the smallest steps may be the same whole number.
    prompts = sorted({max(1, round(setting.prompt_tokens * step)) for step in STEPS})
    points = [
        _point(plan, f"{tokens:,} {PROMPT.unit}", setting.model_copy(update={PROMPT.name: tokens}))
        for tokens in prompts
    ]
    yield _slider(PROMPT.label, points, prompts.index(setting.prompt_tokens))


def _point(plan: RuntimePlanFile, words: str, setting: Setting) -> SliderPoint:
    """Return one position of a slider, planned with the plan's own limits."""
    try:
        found = plan_again(setting, plan.goal, plan.runtime.name, plan)
    except NoFeasiblePlan as error:
        # Without a command, the reason takes its place.
        return SliderPoint(words=words, cells=("", "", "", str(error)))
    decode, prefill = (
        range_words(SpeedRange.model_validate(found.predicted[phase]))
        for phase in ("decode", "prefill")
    )
    whole = format_duration(found.predicted["end_to_end_s"])
    command = text_of(found, "args").strip()
    return SliderPoint(words=words, cells=(decode, prefill, whole, command))


def _slider(name: str, points: list[SliderPoint], start: int) -> Section:
    """Return a slider over the rows of a table, which is also shown without the slider.

    The slider begins at the place ``start``, which is the plan's own number.
    """
    first = points[start]
    shown = "".join(
        f'<div{WHOLE if column == COLUMNS[-1] else ""}><dt>{escape(column)}</dt><dd data-cell="{place}">{escape(cell)}</dd></div>'
        for place, (column, cell) in enumerate(
            zip((name, *COLUMNS), (first.words, *first.cells), strict=True)
        )
    )
    label = f"{name}, from {points[0].words} to {points[-1].words}"
    body = (
        f'<p><label>{escape(label)}<br><input type="range" class="wide" data-rows min="0" '
        f'max="{len(points) - 1}" value="{start}" aria-valuetext="{escape(first.words)}">'
        f'</label></p><dl aria-live="polite">{shown}</dl>'
    )
    rows = [(point.words, *point.cells) for point in points]
    return Section(
        title=f"Move it: {name}",
        lead=f"{len(points)} plans that were worked out when this page was made; all else as above.",
        body=body + table(f"{name}: every plan", (name, *COLUMNS), rows, is_folded=True),
    )
