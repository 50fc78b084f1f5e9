"""Units: what people type is read exactly, what is printed can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles.units import format_bytes, format_duration, format_flops, format_rate, parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("50e9", 50e9),
        ("1_000", 1000),
        (" 2.5 kB ", 2500),
        ("24GB", 24e9),
        ("24gb", 24e9),
        ("64GiB", 64 * 2**30),
        ("24212MiB", 24212 * 2**20),
        ("1T", 1e12),
        ("2TiB", 2**41),
        ("50GB/s", 50e9),
        ("-3", -3),
        ("inf", float("inf")),
    ],
)
def test_numbers_are_read(text: str, value: float) -> None:
    """Decimal suffixes are powers of 1000, binary ones of 1024, in any case."""
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text", ["", "GB", "24 G B", "24XB", "1e", "1,5", "nan", "0x10", "1.2.3", "24GB/h", "٣"]
)
def test_what_is_no_number_is_refused_in_one_line(text: str) -> None:
    """The error shows the text and the accepted forms."""
    with pytest.raises(
        ValueError, match=r"is not a number; write for example 50e9, 24GB or 64GiB$"
    ) as caught:
        parse_number(text)
    assert repr(text) in str(caught.value)


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
