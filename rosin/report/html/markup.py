"""Pieces of HTML: escaped text, tables, figures with their words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page: its title, a sentence that says what it shows, and its body as HTML."""

    title: str
    lead: str
    body: str

    def html(self, number: int) -> str:
        """The section, which its title names for screen readers."""
        return (
            f'<section aria-labelledby="s{number}"><h2 id="s{number}">{escape(self.title)}</h2>'
            f"<p>{escape(self.lead)}</p>{self.body}</section>"
        )


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, is_folded: bool = False
) -> str:
    """A table; the first cell of a row is its head. ``is_folded``: shown when it is asked for."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    lines = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in rows
    )
    whole = (
        # An element that has the focus can be scrolled from the keyboard.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )
    if not is_folded:
        return whole
    return f"<details><summary>{escape(caption)}, as a table</summary>{whole}</details>"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names with their values, as a list of definitions."""
    return (
        "<dl>"
        + "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows
        )
        + "</dl>"
    )


def command_line(text: str) -> str:
    """A command with a button that copies it."""
    return (
        f'<div class="command"><pre tabindex="0"><code>{escape(text)}</code></pre>'
        '<button type="button" data-copy>Copy</button></div>'
    )


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """What colours mean: pairs of a colour's class and its words."""
    return (
        '<ul class="legend">'
        + "".join(
            f'<li><span class="key {key}"></span>{escape(words)}</li>' for key, words in entries
        )
        + "</ul>"
    )
