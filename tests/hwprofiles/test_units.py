"""Units: what people type is read exactly, what is printed can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles.units import format_bytes, format_duration, format_flops, format_rate, parse_number

SIZES = {"": 1, "B": 1} | {
    f"{prefix}{ending}": base**power
    for power, prefix in enumerate("kMGT", 1)
    for ending, base in (("", 1000), ("B", 1000), ("iB", 1024))
}
"""Decimal suffixes are powers of 1000, binary ones of 1024."""
PRINTED_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def _any_case(draw: st.DrawFn, word: str) -> str:
    return "".join(draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in word)


@st.composite
def typed_numbers(draw: st.DrawFn) -> tuple[str, float]:
    """A number as people type it, and what it is."""
    number = draw(st.integers(-(10**9), 10**9) | st.floats(-1e30, 1e30))
    # A sign stands before what has none of its own, as -0.0 has.
    signed = "{}" if str(number).startswith("-") else "+{}"
    form = draw(st.sampled_from(["{}", "{:_}", "{:e}", signed]))
    figures = form.format(number)
    suffix = draw(st.sampled_from(sorted(SIZES)))
    spaces = st.sampled_from(["", " ", "  "])
    words = (draw(spaces), figures, draw(spaces), _any_case(draw, suffix))
    ending = draw(st.sampled_from(["", "/s"]))
    return "".join((*words, ending, draw(spaces))), float(figures) * SIZES[suffix]


@given(typed_numbers())
def test_numbers_are_read(typed: tuple[str, float]) -> None:
    """Every suffix in any case, with exponents, underscores, signs and spaces."""
    text, value = typed
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["inf", "Infinity", " INF "])
def test_infinity_is_a_number(text: str) -> None:
    """In any case; nan is none."""
    assert parse_number(text) == float("inf")


@given(
    st.text()
    | st.text("0123456789eE+-._ kKmMgGtTiIbB/s\u0663")
    | typed_numbers().map(lambda typed: f"{typed[0]}/h")
    | st.sampled_from(["", "nan", "0x10", "24 G B", "1,5", "\u0663"])
)
def test_what_is_no_number_is_refused_in_one_line(text: str) -> None:
    """Any text is a number or refused; the error shows the text and the accepted forms."""
    try:
        value = parse_number(text)
    except ValueError as error:
        assert str(error) == f"{text!r} is not a number; write for example 50e9, 24GB or 64GiB"
        assert str(error).isprintable()
    else:
        assert value == value, "nan is no number"
        assert any(letter in "0123456789iI" for letter in text)


@given(st.floats(min_value=1, max_value=9e14))
def test_printed_bytes_read_back(num_bytes: float) -> None:
    """Three digits are printed, so what is read back is within half of the third."""
    assert parse_number(format_bytes(num_bytes)) == pytest.approx(num_bytes, rel=5.1e-3)
    assert parse_number(format_rate(num_bytes)) == pytest.approx(num_bytes, rel=5.1e-3)


@given(st.integers(min_value=0, max_value=2**40))
def test_binary_suffix_is_exact(count: int) -> None:
    """MiB are read without rounding, so memory in a file is what the log said."""
    assert parse_number(f"{count}MiB") == count * 2**20


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (format_bytes(3.2e9), "3.20 GB"),
        (format_bytes(999.7e9), "1.00 TB"),
        (format_rate(24.2e9), "24.2 GB/s"),
        (format_flops(989.5e12), "990 TFLOP/s"),
        (format_duration(3.85), "3.85 s"),
        (format_duration(0.307), "307 ms"),
        (format_duration(12e-6), "12.0 us"),
        (format_duration(0), "0 s"),
    ],
)
def test_figures_for_people(printed: str, expected: str) -> None:
    """Three digits, and tera is 1e12."""
    assert printed == expected


@given(st.floats(1e-9, 1e6))
def test_printed_durations_read_back(seconds: float) -> None:
    """Three digits and a unit, from nanoseconds to seconds."""
    number, unit = format_duration(seconds).split()
    figures = float(number.replace(",", ""))
    assert figures * PRINTED_S[unit] == pytest.approx(seconds, rel=5.1e-3)
    assert 0.99 < figures < 1000 or unit == "s"


@given(st.floats(1e6, 1e18))
def test_printed_operations_read_back(flops_per_s: float) -> None:
    """Tera is 1e12, never 2**40."""
    number, unit = format_flops(flops_per_s).split()
    assert unit.endswith("FLOP/s")
    scale = SIZES[unit[0]]
    assert float(number.replace(",", "")) * scale == pytest.approx(flops_per_s, rel=5.1e-3)


@given(st.floats(1, 9e14), st.floats(1, 9e14))
def test_a_larger_size_is_never_printed_as_a_smaller(one: float, other: float) -> None:
    """Rounding to three digits keeps the order."""
    small, large = sorted((one, other))
    assert parse_number(format_bytes(small)) <= parse_number(format_bytes(large))
