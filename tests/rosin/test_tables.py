"""Tables on a terminal: whatever stands in them, nothing is cut off."""

from collections import Counter
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rosin.report.tables import name_column, number_column, plain_table, text_column

WORDS = st.text("abcdefgh-", min_size=1, max_size=24)
NAMES = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
NUMBERS = st.integers(0, 10**9).map("{:,}".format)


@given(
    st.lists(st.tuples(NAMES, NAMES, NAMES, NUMBERS, NUMBERS), min_size=1, max_size=6),
    st.integers(60, 120),
    st.booleans(),
)
def test_every_character_is_printed(
    rows: list[tuple[str, str, str, str, str]], width: int, has_text: bool
) -> None:
    """Names wrap where they have to, and no number is broken in two."""
    last = text_column("third") if has_text else name_column("third")
    numbers = (number_column("count"), number_column("sum"))
    table = plain_table(name_column("first"), name_column("second"), last, *numbers)
    for row in rows:
        table.add_row(*row)
    file = StringIO()
    Console(file=file, width=width, color_system=None).print(table)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    printed = Counter(each for each in text if each not in " \n─")
    words = "".join(("first second third count sum", *(" ".join(row) for row in rows)))
    assert printed == Counter(words.replace(" ", ""))
    for row in rows:
        assert all(number in text for number in row[3:])


@given(
    st.lists(st.text("abc-", min_size=1, max_size=9), min_size=1, max_size=4), st.integers(0, 99)
)
def test_names_that_fit_are_not_broken(words: list[str], count: int) -> None:
    """A name that people copy stays on one line, however long the text behind it is."""
    name = " ".join(words)
    table = plain_table(name_column("name"), number_column("count"), text_column("what"))
    table.add_row(name, str(count), "words " * 40)
    file = StringIO()
    Console(file=file, width=80, color_system=None).print(table)
    assert name in file.getvalue()
