"""Pieces of HTML: escaped text, tables, figures with their words."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

LONG_CHARACTERS = 28
"""The most characters of a cell in a column without a least width.

A narrow column of longer text would be as high as a screen.
"""
_NUMBER = re.compile(r"[(<>=~±+\-−$]*\s?\d")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page: its title, a sentence that says what it shows, and its body as HTML."""

    title: str
    lead: str
    body: str

    def html(self, number: int) -> str:
        """Return the section as HTML; its title is its name for screen readers."""
        return (
            f'<section aria-labelledby="s{number}"><h2 id="s{number}">{escape(self.title)}</h2>'
            f"<p>{prose(self.lead)}</p>{self.body}</section>"
        )


def prose(text: str) -> str:
    """Return text as HTML, with the words between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, is_folded: bool = False
) -> str:
    """Return a table; the first cell of each row is the row's head.

    ``is_folded``: the table is shown only after a click.
    """
    lines = [tuple(row) for row in rows]
    classes = [_class_of([line[place] for line in lines]) for place in range(len(columns))]
    head = "".join(
        f'<th scope="col"{kind}>{escape(column)}</th>'
        for column, kind in zip(columns, classes, strict=True)
    )
    body = "".join(_table_row(line, classes) for line in lines)
    whole = (
        # An element that has the focus can be scrolled from the keyboard.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    if not is_folded:
        return whole
    return f"<details><summary>{escape(caption)}, as a table</summary>{whole}</details>"


def _table_row(cells: Sequence[str], classes: Sequence[str]) -> str:
    first, *others = (f"{kind}>{escape(cell)}" for cell, kind in zip(cells, classes, strict=True))
    return (
        f'<tr><th scope="row"{first}</th>' + "".join(f"<td{cell}</td>" for cell in others) + "</tr>"
    )


def _class_of(cells: Sequence[str]) -> str:
    """Return the class of a column: words are left-aligned and may wrap, numbers right-aligned."""
    said = [cell for cell in cells if cell]
    if any(len(cell) > LONG_CHARACTERS for cell in said):
        return ' class="words long"'
    num_numbers = sum(1 for cell in said if _NUMBER.match(cell))
    # A column of numbers may have a word where one is missing.
    return f' class="{"number" if 2 * num_numbers >= len(said) else "words"}"'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return names with their values, as a definition list."""
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
    """Return the legend of colours, from pairs of a colour's class and its words."""
    return (
        '<ul class="legend">'
        + "".join(
            f'<li><span class="key {key}"></span>{escape(words)}</li>' for key, words in entries
        )
        + "</ul>"
    )
