"""The page's plan as files: in the forms that its program reads, as a plan file, and as JSON."""

import json
from contextlib import suppress
from dataclasses import dataclass

from hwprofiles import InputError
from hwprofiles.text_file import yaml_text
from planner.export.runtimes import WRITERS
from planner.runtimes.plan_text import text_of
from rosin.cli.field_options import in_options
from rosin.cli.json_output import envelope, plain
from rosin.web.answering import NoAnswer, PageAnswer, answer_to
from rosin.web.question import PageQuestion

ENDINGS = {"preset": "ini"}
"""The endings of forms that a runtime recognises by the ending; other forms are plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFile:
    """A file to download: its name, its media type and its text."""

    name: str
    media_type: str
    text: str


def forms_of(answer: PageAnswer) -> list[str]:
    """Return the forms of the runtime that can express the whole plan.

    Some arguments, for example, have no environment variable.
    """
    found = []
    for form in WRITERS[answer.result.runtime].forms:
        with suppress(InputError):
            text_of(answer.found.file, form)
            found.append(form)
    return found


def export_of(question: PageQuestion, form: str) -> ExportFile | None:
    """Return the file of that form; None for an unknown form, or without a plan."""
    answer = answer_to(question)
    if isinstance(answer, NoAnswer):
        return None
    stem = f"{question.model.rpartition('/')[2]}-{question.runtime}"
    if form == "plan":
        text = yaml_text(answer.found.file.model_dump(mode="json"))
        return ExportFile(name=f"{stem}.yaml", media_type="application/yaml", text=text)
    if form == "json":
        return ExportFile(name=f"{stem}.json", media_type="application/json", text=_json(answer))
    # The form is part of an address, so it may be any text.
    if form not in forms_of(answer):
        return None
    text = text_of(answer.found.file, form)
    return ExportFile(
        name=f"{stem}-{form}.{ENDINGS.get(form, 'txt')}", media_type="text/plain", text=text
    )


def _json(answer: PageAnswer) -> str:
    """Return the JSON that `rosin plan --runtime --json` writes."""
    document = envelope(
        answer.result.model_dump(mode="json"),
        provenance=answer.found.file.provenance,
        warnings=[in_options(note) for note in answer.found.notes],
        seed=answer.found.file.setting.seed,
    )
    return json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
