"""Words of axes, ticks, and options in messages: whatever the value, text that a person can read."""

import re

from hypothesis import given
from hypothesis import strategies as st

from rosin.cli.field_options import OPTIONS, in_options
from rosin.report.axis_words import (
    WORDS,
    at_words,
    axis_label,
    format_tick,
    short,
    tick_labels,
    unit,
)

PATHS = st.sampled_from([*WORDS, "gpu.flops_per_s.bf16", "price_usd", "seed", "machine"])
VALUES = st.floats(0, 1e15) | st.integers(0, 10**12)


@given(
    st.lists(st.sampled_from(sorted(OPTIONS)) | st.text("abc_", min_size=1), max_size=4), st.text()
)
def test_fields_that_an_option_sets_are_named_by_it(names: list[str], words: str) -> None:
    """Those in backticks, and no other; the rest of the message stays."""
    words = words.replace("`", "")
    message = words.join(f"`{name}`" for name in ["", *names])[2:]
    found = in_options(message)
    expected = words.join(OPTIONS.get(name, f"`{name}`") for name in names)
    assert found == (words + expected if names else "")
    assert in_options(words) == words


@given(PATHS, VALUES)
def test_a_value_is_said_in_the_unit_of_its_axis(path: str, value: float) -> None:
    """The label names the unit once, and ticks have none; a name is said as it is."""
    size, name = unit(path)
    label = axis_label(path)
    assert label.endswith(f"({name})") if name else "(" not in label
    assert size > 0
    [tick] = tick_labels(path, [value])
    assert tick == format_tick(value / size)
    assert re.fullmatch(r"[\d,.e+-]+", tick), tick
    assert short(path, "a name") == "a name"
    assert short(path, value)
    assert at_words({path: value}).startswith("at ")
    assert at_words({}) == ""


@given(st.floats(0, 999_999))
def test_a_tick_is_near_its_number(value: float) -> None:
    """Within a two-hundredth, or what three digits leave."""
    read = float(format_tick(value).replace(",", ""))
    assert abs(read - value) <= max(0.005 * value, 0.005)
