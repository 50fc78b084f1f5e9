"""Laws of numbers and words as people read them: near what they stand for, never the wrong way
round, and never longer than their room.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import load_machine
from rosin.report.sliders import overrides_of, own_numbers, shown
from rosin.report.tables import (
    format_change,
    format_count,
    format_quantity,
    format_share,
    share_bar,
    shortened,
)

NUMBERS = st.floats(1e-9, 1e15)


@given(NUMBERS)
@settings(max_examples=200)
def test_a_count_is_near_what_it_stands_for(value: float) -> None:
    """Within half of its third digit, or half a unit above a hundred; with its sign."""
    found = float(format_count(value).replace(",", ""))
    assert found == pytest.approx(value, rel=0.0051)
    assert format_count(-value) == f"-{format_count(value)}"
    assert format_count(0) == "0"


@given(st.floats(-1, 10), st.integers(0, 2))
@settings(max_examples=200)
def test_a_change_has_a_sign_unless_it_is_none(fraction: float, digits: int) -> None:
    """Never +0 or -0; else within half of its last digit, with its sign."""
    number = format_change(fraction, digits).removesuffix(" %")
    assert float(number) == pytest.approx(100 * fraction, abs=0.51 * 10**-digits)
    assert number.startswith(("+", "-")) == (float(number) != 0)


@given(st.floats(0, 1))
@settings(max_examples=200)
def test_a_share_is_never_none_or_all_unless_it_is(fraction: float) -> None:
    """Within half a percent, a tenth where it is small or nearly all."""
    text = format_share(fraction)
    assert text.endswith(" %")
    number = text.removesuffix(" %")
    if number == "<0.1":
        assert 0 < fraction < 0.001
        return
    assert float(number) == pytest.approx(100 * fraction, abs=0.51)
    assert (float(number) == 0) == (fraction == 0)
    assert (float(number) == 100) == (fraction == 1)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 60))
@settings(max_examples=200)
def test_a_longer_bar_is_more(one: float, other: float, width: int) -> None:
    """As wide as its room at most; what is not nothing is something."""
    low, high = sorted((one, other))
    assert len(share_bar(low, width).replace("▏", "")) <= len(share_bar(high, width))
    assert len(share_bar(high, width)) <= width
    assert bool(share_bar(low, width)) == (low > 0)
    assert share_bar(1.0, width) == "█" * width


@given(st.text("abc ,;é", min_size=1, max_size=80), st.integers(2, 60))
@settings(max_examples=200)
def test_a_shortened_text_begins_as_the_whole(text: str, width: int) -> None:
    """No longer than its room, cut at a word where there is one; a word that is longer than the room
    shows its beginning.
    """
    found = shortened(text, width)
    assert len(found) <= width
    if len(text) <= width:
        assert found == text
        return
    assert found.endswith("…")
    assert text.startswith(found[:-1])
    if text[: width - 1].strip(" ,;"):
        assert found[:-1].strip()


UNITS = ("gpu.memory_bytes", "link.h2d.bytes_per_s", "host.layer_overhead_ns", "ttft_s")


@given(st.sampled_from(UNITS), st.floats(1, 1e14), st.floats(1.02, 1000))
@settings(max_examples=100)
def test_quantities_have_a_unit_and_are_told_apart(path: str, value: float, factor: float) -> None:
    """Two that differ by two percent read differently, and each has its unit."""
    one, other = (format_quantity(path, each) for each in (value, value * factor))
    assert any(letter.isalpha() for letter in one)
    if value * factor < 1e15:
        assert one != other


MACHINES = (
    "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800",
    "2xRTX 3090 + EPYC 7302 + 8x32GB DDR4-3200",
    "h100",
    "desktop-rtx-3060-ddr4",
    "Ryzen 9 7950X + 2x32GB DDR5-4800",
)


@given(st.sampled_from(MACHINES), st.data())
@settings(max_examples=40)
def test_a_moved_number_is_read_back(name: str, data: st.DataObject) -> None:
    """A machine whose numbers are moved has them, to the six digits that are written, and no other
    number of it moves.
    """
    machine = load_machine(name)
    own = own_numbers(machine)
    names = data.draw(st.lists(st.sampled_from(sorted(own)), unique=True))
    moved = {each: data.draw(st.floats(0.5, 2000), each) for each in names}
    again = own_numbers(load_machine(name, overrides_of(machine, moved)))
    for each, value in own.items():
        assert again[each] == pytest.approx(moved.get(each, value), rel=1e-5)
    assert overrides_of(machine, {}) == ()


@given(NUMBERS)
@settings(max_examples=100)
def test_a_field_shows_what_reads_as_itself(value: float) -> None:
    """Shown once or twice: the same text, so that a number that nobody moved stays unmoved."""
    assert shown(float(shown(value))) == shown(value)
    assert float(shown(value)) == pytest.approx(value, rel=0.006)
