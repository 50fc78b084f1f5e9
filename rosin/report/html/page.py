"""A whole page of HTML in one file, which loads nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from rosin.report.html.markup import Section, command_line, prose


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The content of a report: a title, the answer in a sentence, the command, and sections.

    ``warnings`` are what a reader must know before trusting the report.
    """

    title: str
    answer: str
    command: str
    sections: Sequence[Section]
    warnings: Sequence[str] = ()

    def html(self) -> str:
        """Return the page as HTML; the same report gives the same text."""
        folder = files("rosin.report.html")
        # Style and scripts are written into the page: the file then needs no other file beside it.
        style = (folder / "page.css").read_text(encoding="utf-8")
        script = "".join(
            (folder / name).read_text(encoding="utf-8") for name in ("copy.js", "page.js")
        )
        notes = "".join(f"<li>{prose(each)}</li>" for each in self.warnings)
        warnings = f'<h2 id="notes">Read this first</h2><ul>{notes}</ul>' if notes else ""
        body = "".join(section.html(number) for number, section in enumerate(self.sections, 1))
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            # nothing is loaded, whatever is written into the page
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
            'img-src data:">'
            f"<title>{escape(self.title)}</title><style>{style}</style></head><body><main>"
            f'<h1>{escape(self.title)}</h1><p class="answer">{escape(self.answer)}</p>'
            f"{command_line(self.command)}{warnings}{body}</main>"
            f"<script>{script}</script></body></html>\n"
        )
