"""Laws of what is drawn as HTML and SVG: any text is shown and never read as markup, and every number
is one.
"""

import math
from html.parser import HTMLParser
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from rosin.report.html.charts import (
    CHARACTER_WIDTH,
    WIDTH,
    Bar,
    Slice,
    bars,
    heat_map,
    lanes,
    widths,
)
from rosin.report.html.markup import Section, command_line, facts, legend, prose, table
from rosin.report.html.other_sections import rows_section, shown_columns

TEXTS = st.text("abc<>&\"'/=;! -–ü", max_size=20)
LENGTHS = st.floats(0, 1e12)


class _Read(HTMLParser):
    """The text and the tags of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.open = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self.open += 1

    def handle_endtag(self, tag: str) -> None:
        """Note its end."""
        self.open -= 1

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.words.append(data)


def _read(html: str) -> _Read:
    found = _Read()
    found.feed(html)
    found.close()
    assert found.open == 0
    return found


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=4), st.data(), st.booleans())
@settings(max_examples=60)
def test_any_text_of_a_table_is_shown(
    caption: str, columns: list[str], data: st.DataObject, is_folded: bool
) -> None:
    """Cells stand in their order, whatever signs are in them, and no tag is made of them."""
    row = st.lists(TEXTS, min_size=len(columns), max_size=len(columns))
    rows = data.draw(st.lists(row, max_size=3))
    found = _read(table(caption, columns, rows, is_folded=is_folded))
    cells = [cell for row in rows for cell in row]
    assert "".join(found.words).endswith("".join([caption, *columns, *cells]))
    assert found.tags.count("th") == len(columns) + len(rows)
    assert found.tags.count("td") == sum(len(row) - 1 for row in rows)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5), TEXTS, TEXTS)
@settings(max_examples=60)
def test_any_text_of_facts_legends_and_commands_is_shown(
    pairs: list[tuple[str, str]], title: str, command: str
) -> None:
    """As it is written."""
    assert "".join(_read(facts(pairs)).words) == "".join(map("".join, pairs))
    assert "".join(_read(command_line(command)).words) == f"{command}Copy"
    words = [words for _, words in pairs]
    assert "".join(_read(legend([("c0", each) for each in words])).words) == "".join(words)
    section = Section(title=title, lead=command, body="")
    assert "".join(_read(section.html(3)).words) == title + command


@given(TEXTS, TEXTS, TEXTS)
@settings(max_examples=60)
def test_backticks_make_code(before: str, code: str, after: str) -> None:
    """What stands between them is shown as code, whatever signs are in it."""
    found = _read(prose(f"{before}`{code}x`{after}"))
    assert "".join(found.words) == f"{before}{code}x{after}"
    assert found.tags == ["code"]


NUMBERS = st.sampled_from(["12.6 GB", "-3 %", "1,234", "105 (84–132)", "0", ""])
WORDS = st.sampled_from(["fiddler", "published", "no source states it, which is a sentence", ""])


@given(st.lists(st.tuples(NUMBERS, WORDS), min_size=1, max_size=6))
@settings(max_examples=60)
def test_words_stand_to_the_left_and_numbers_to_the_right(rows: list[tuple[str, str]]) -> None:
    """A column of words is marked as one, its head too, and a column of numbers is not."""
    html = table("t", ("name", "number", "words"), [("x", *row) for row in rows])
    num_marked = html.count('class="words')
    # The names are words, too; a column without any has nothing to stand anywhere.
    has_words = any(word for _, word in rows)
    assert num_marked == (2 if has_words else 1) * (len(rows) + 1)
    assert html.count('class="number"') == 3 * (len(rows) + 1) - num_marked


def _svg(html: str) -> ElementTree.Element:
    """The drawing inside a piece of HTML; it is XML."""
    found = ElementTree.fromstring(html)
    svg = next(found.iter("svg"))
    for each in svg.iter():
        for name in ("x", "y", "width", "height"):
            assert math.isfinite(float(each.get(name, "0")))
            assert float(each.get(name, "0")) >= 0
    return svg


PARTS = st.lists(st.tuples(st.just("c0"), LENGTHS, TEXTS), max_size=4)


@given(TEXTS, st.lists(st.tuples(TEXTS, PARTS, TEXTS), max_size=5))
@settings(max_examples=60)
def test_bars_are_as_long_as_their_numbers(
    title: str, rows: list[tuple[str, list[tuple[str, float, str]], str]]
) -> None:
    """The longest fills the room, and none is longer; each part has its words."""
    drawn = [Bar(name=name, parts=parts, value=value) for name, parts, value in rows]
    svg = _svg(bars(title, drawn))
    room = widths(drawn).longest
    lengths = [float(each.get("width", "0")) for each in svg.iter("rect")]
    assert len(lengths) == sum(len(bar.parts) for bar in drawn)
    assert all(length <= room + 0.01 for length in lengths)
    most = max((bar.length for bar in drawn), default=0.0)
    if most > 0:
        place = 0
        for bar in drawn:
            own = sum(lengths[place : place + len(bar.parts)])
            place += len(bar.parts)
            assert abs(own - room * bar.length / most) <= 0.01 * len(bar.parts) + 0.01


@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60)), min_size=1, max_size=5))
@settings(max_examples=60)
def test_words_beside_bars_have_room(rows: list[tuple[str, str]]) -> None:
    """Names end left of the bars and begin inside the picture; values end inside it."""
    drawn = [Bar(name=name, parts=[("c0", 1.0, "")], value=value) for name, value in rows]
    own = widths(drawn)
    assert all(CHARACTER_WIDTH * len(name) <= own.names - 8 for name, _ in rows)
    values = own.whole - own.names - own.longest
    assert all(CHARACTER_WIDTH * len(value) <= values - 6 for _, value in rows)


SHARES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(
    TEXTS, st.lists(st.tuples(TEXTS, st.lists(st.tuples(SHARES, TEXTS), max_size=5)), max_size=4)
)
@settings(max_examples=60)
def test_lanes_show_every_task(
    title: str, rows: list[tuple[str, list[tuple[list[float], str]]]]
) -> None:
    """A lane for each name and a shape for each task, of a width that can be seen."""
    drawn = [
        (name, [Slice(start=a, end=b, color="c1", words=words) for (a, b), words in tasks])
        for name, tasks in rows
    ]
    svg = _svg(lanes(title, drawn))
    shapes = [each for each in svg.iter("rect") if each.get("class") == "c1"]
    assert len(shapes) == sum(len(tasks) for _, tasks in rows)
    assert all(float(each.get("width", "0")) >= 0.05 for each in shapes)


@given(
    st.lists(st.lists(st.integers(0, 7), min_size=6, max_size=6), min_size=1, max_size=20), TEXTS
)
@settings(max_examples=60)
def test_a_map_has_every_cell(cells: list[list[int]], words: str) -> None:
    """Runs of one colour are one shape: their lengths add up to the columns of each row."""
    svg = _svg(heat_map("map", cells, words, words))
    width = (WIDTH - 60) / 6
    covered = 0.0
    for path in svg.iter("path"):
        steps = (path.get("d") or "").split("M")[1:]
        for step in steps:
            covered += (float(step.split("h")[1].split("v")[0]) + 0.3) / width
    assert abs(covered - 6 * len(cells)) <= 0.01 * 6 * len(cells)
    colors = {path.get("class") for path in svg.iter("path")}
    assert colors == {f"c{number}" for row in cells for number in row}


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
ROWS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), VALUES | st.lists(VALUES, max_size=2), max_size=4),
    max_size=5,
)


@given(ROWS)
def test_any_rows_make_a_section(rows: list[dict[str, object]]) -> None:
    """A column has words in some row; what is the same in all rows needs none."""
    columns = shown_columns(rows)
    assert set(columns) <= (set(rows[0]) if rows else set())
    assert all(any(row.get(column) is not None for row in rows) for column in columns)
    read = _read(rows_section("title", "lead", rows).body)
    assert read.tags.count("th") <= len(columns) + len(rows)
