"""Names with a slip find the name that was meant, and ranges take what is in them and no more."""

import difflib
import math
import re
from types import SimpleNamespace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hwprofiles import InputError, machine_names
from hwprofiles.errors import MAX_CHARACTERS, closest, shortened, unknown_name
from hwprofiles.ranges import check_above_zero, check_at_least, check_shares

NUMBERS = st.floats() | st.integers(-5, 5)


NAMES = machine_names()


@given(name=st.sampled_from([name for name in NAMES if len(name) > 5]), data=st.data())
def test_a_name_with_one_slip_is_found(name: str, data: st.DataObject) -> None:
    """A letter left out, doubled or replaced: the hint has names that are as near, not the list of
    all.
    """
    index = data.draw(st.integers(0, len(name) - 1))
    middle = data.draw(st.sampled_from(["", name[index] * 2, "q"]))
    typed = name[:index] + middle + name[index + 1 :]
    assume(typed not in NAMES)
    hint = closest(typed, NAMES)
    assert hint.startswith("; did you mean ")
    named = set(NAMES) & set(re.findall("'([^']+)'", hint))
    assert named
    ratios = {each: difflib.SequenceMatcher(None, each, typed).ratio() for each in NAMES}
    assert any(ratios[each] >= ratios[name] or typed in each for each in named)


@given(names=st.lists(st.text("abcdef-", min_size=6, max_size=20), min_size=1, unique=True))
def test_the_hint_is_one_of_the_choices(names: list[str]) -> None:
    """For each name without its last letter, what is proposed is there, and for one of its own
    spelling in capitals it is that name.
    """
    for name in names:
        hint = closest(name[:-1], names)
        assert any(repr(each) in hint for each in names) or hint.startswith("; known: ")
        assert repr(name) in closest(name.upper(), names)


@given(st.text(), st.lists(st.text(max_size=30), max_size=5))
def test_an_unknown_name_fits_a_line(name: str, choices: list[str]) -> None:
    """However long the name is and whatever it is made of."""
    assert "\n" not in shortened(repr(name))
    assert len(shortened(repr(name))) <= MAX_CHARACTERS
    assert str(unknown_name("thing", name, choices)).startswith("no thing named ")


@given(value=NUMBERS, bound=st.integers(-5, 5))
def test_at_least_takes_its_bound_and_above(value: float, bound: int) -> None:
    """Nan is below every bound; what is not set passes."""
    owner = SimpleNamespace(size=value, other=None)
    if value >= bound:
        check_at_least(owner, size=bound, other=bound)
        return
    with pytest.raises(InputError, match=f"^size must be at least {bound}, got "):
        check_at_least(owner, other=bound, size=bound)


@given(value=NUMBERS)
def test_shares_are_between_0_and_1(value: float) -> None:
    """Both ends are shares; for some fields 0 is none."""
    owner = SimpleNamespace(share=value, other=None)
    is_share = not math.isnan(value) and 0 <= value <= 1
    if is_share:
        check_shares(owner, "share", "other")
    else:
        with pytest.raises(InputError, match=r"^share must be between 0 and 1, got "):
            check_shares(owner, "other", "share")
    if is_share and value > 0:
        check_above_zero(owner, "share")
    else:
        with pytest.raises(InputError, match=r"^share must be above 0 and at most 1, got "):
            check_above_zero(owner, "share")
