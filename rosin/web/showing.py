"""The content of the page's templates: answers in words, and numbers as people read them."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hwprofiles import Machine
from hwprofiles.units import format_bytes, format_duration
from planner.runtimes.search import WAYS
from rosin.cli.help_text import QUANTIZATIONS
from rosin.commands.plan.runtime_document import RuntimePlanResult
from rosin.commands.simulate.runtime_page import (
    coverage_words,
    limit_words,
    number_words,
    speed_words,
)
from rosin.report.sliders import LOAD_NUMBERS, PC_NUMBERS, STEPS, own_numbers, shown
from rosin.report.tables import format_change
from rosin.web.answering import (
    NoAnswer,
    PageAnswer,
    answer_for,
    answer_to,
    first_answer_to,
    plan_command,
)
from rosin.web.drawing import layer_map, memory_bars
from rosin.web.exporting import forms_of
from rosin.web.question import Offered, PageQuestion, ReadQuestion
from rosin.web.searching import Searched
from rosin.web.upgrades import offer_rows

FIELDS = (
    "machine",
    "model",
    "quantization",
    "runtime",
    "other",
    *(number.name for number in PC_NUMBERS),
    *(number.name for number in LOAD_NUMBERS),
)
"""The fields that have a place for a mistake."""
FORM_WORDS: Mapping[str, str] = {
    "args": "arguments",
    "env": "environment",
    "bench": "benchmark",
    "preset": "preset",
}


@cache
def _environment() -> Environment:
    """Return the environment of the templates, which escapes all values but markup."""
    environment = Environment(
        loader=PackageLoader("rosin.web"),
        autoescape=True,
        # A misspelt name in a template fails, instead of showing nothing.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": format_bytes,
        "coverage": coverage_words,
        "duration": format_duration,
        "limit": limit_words,
        "markup": Markup,
        "number": number_words,
        "percent": lambda share: f"{share:.0%}",
        # A minus sign is as wide as a plus sign, so columns line up; a hyphen is not.
        "change": lambda share: format_change(share).replace(" ", "").replace("-", "−"),
        "speed": speed_words,
    }
    return environment


def rendered(template: str, **shown_values: Any) -> str:
    """The template of that name with those values."""
    return _environment().get_template(f"{template}.html").render(**shown_values)


def static_files() -> dict[str, tuple[bytes, str]]:
    """Return every file that the page loads, with its media type; a request reads no other file."""
    own = files("rosin.web") / "static"
    report = files("rosin.report.html")
    return {
        "report.css": ((report / "page.css").read_bytes(), "text/css"),
        "page.css": ((own / "page.css").read_bytes(), "text/css"),
        "copy.js": ((report / "copy.js").read_bytes(), "text/javascript"),
        "page.js": ((own / "page.js").read_bytes(), "text/javascript"),
        "htmx.min.js": ((own / "htmx.min.js").read_bytes(), "text/javascript"),
        "htmx.LICENSE.txt": ((own / "htmx.LICENSE.txt").read_bytes(), "text/plain"),
    }


def page(reading: ReadQuestion, offered: Offered) -> str:
    """Return the whole page without an answer; the page then loads the answer by itself."""
    question = reading.question
    return rendered(
        "page",
        question=question,
        problems=reading.problems,
        models=offered.models,
        quantizations=QUANTIZATIONS,
        runtimes=list(WAYS),
        numbers=_numbers(reading),
        loads=LOAD_NUMBERS,
    )


def answer(reading: ReadQuestion, searched: Searched | None) -> str:
    """Return the answer to a question, with the other pieces of the page that change with it."""
    question = reading.question
    values: dict[str, Any] = {
        "question": question,
        "problems": reading.problems,
        "fields": FIELDS,
        # Sliders are drawn again for another PC only: somebody may be holding one of them.
        "numbers": _numbers(reading) if reading.has_new_machine else None,
        "found": None,
        "other": None,
        "searched": searched,
        "reason": None,
    }
    if not reading.problems:
        found = answer_to(question)
        if isinstance(found, NoAnswer):
            values["reason"] = found.reason
        else:
            values |= _found(found, question)
        if question.other:
            values["other"] = _compared(question)
    return rendered("answer", status=_status(values), **values)


def offers(reading: ReadQuestion) -> str:
    """Return the table of upgrades."""
    rows, problems = offer_rows(reading.question)
    return rendered("upgrades", question=reading.question, rows=rows, problems=problems)


def first(question: PageQuestion) -> str:
    """Return the speed of several answers at once, before any search."""
    found = first_answer_to(question)
    return rendered(
        "first", question=question, found=found, is_known=not isinstance(found, NoAnswer)
    )


def search(question: PageQuestion, searched: Searched | None) -> str:
    """Return the state of the search of all policies, or its result."""
    return rendered("search", question=question, searched=searched, is_open=True)


def _found(found: PageAnswer, question: PageQuestion) -> dict[str, Any]:
    result = found.result
    best = found.found.plan.best
    return {
        "found": result,
        "notes": found.found.notes,
        "bars": memory_bars(result),
        "layers": layer_map(best.placement, best.question.model.moe_layers),
        "rivals": _rivals(result),
        "forms": [(form, FORM_WORDS.get(form, form)) for form in forms_of(found)],
        "command": plan_command(question),
    }


def _rivals(result: RuntimePlanResult) -> list[Any]:
    """Return the usual ways to start the program, the fastest first, those that do not fit last."""
    return sorted(result.rivals, key=lambda row: -(row.speed_fraction or 0.0))


def _compared(question: PageQuestion) -> dict[str, Any]:
    """The other PC under the same load."""
    found = answer_for(question, question.other)
    if isinstance(found, NoAnswer):
        return {"name": question.other, "found": None, "reason": found.reason}
    return {"name": question.other, "found": found.result, "reason": None}


def _status(values: Mapping[str, Any]) -> str:
    """Return the answer in a sentence, which a screen reader reads aloud at every change."""
    found = values["found"]
    if values["problems"]:
        mistakes = (_mistake(name, problem) for name, problem in values["problems"].items())
        return f"Not worked out: {'; '.join(mistakes)}"
    if found is None:
        return f"No plan: {values['reason']}"
    both = found.predicted
    return (
        f"{speed_words(both.decode)} for the answer, {speed_words(both.prefill)} for the prompt; "
        f"all of it after {format_duration(both.end_to_end_s)}"
    )


def _mistake(name: str, problem: str) -> str:
    """Return a mistake with the label of its number; other mistakes name their field themselves."""
    label = next((each.label for each in (*PC_NUMBERS, *LOAD_NUMBERS) if each.name == name), None)
    return problem if label is None else f"{label}: {problem}"


def _numbers(reading: ReadQuestion) -> list[dict[str, Any]]:
    """Return the sliders of the PC: the value shown, the ends, and the PC's own number."""
    question = reading.question
    machine = _machine_or_none(reading)
    own = {} if machine is None else own_numbers(machine)
    found = []
    for number in PC_NUMBERS:
        if number.name not in own:
            continue
        moved = None if reading.has_new_machine else getattr(question, number.name)
        found.append(
            {
                "name": number.name,
                "label": number.label,
                "unit": number.unit,
                "own": shown(own[number.name]),
                "value": shown(own[number.name]) if moved is None else f"{moved:g}",
                "least": own[number.name] * STEPS[0],
                "most": own[number.name] * STEPS[-1],
            }
        )
    return found


def _machine_or_none(reading: ReadQuestion) -> Machine | None:
    return None if "machine" in reading.problems else reading.question.loaded_machine()
