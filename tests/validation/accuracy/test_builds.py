"""The build that a measured row ran, by its version, its day or its thread."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.runtimes.question import NEWEST_BUILD
from tests.validation.accuracy.synthetic import synthetic_rows
from validation.accuracy.builds import build_of

ROW = synthetic_rows()[0]
IK = "https://github.com/ikawrakow/ik_llama.cpp"
MAIN = "https://github.com/ggml-org/llama.cpp"


def _build(runtime: str, source: str, version: str = "") -> int:
    return build_of(replace(ROW, runtime=runtime, source=source, runtime_version=version))


@pytest.mark.parametrize(
    ("runtime", "day", "build"),
    [
        ("ik_llama.cpp", "2024-01-01", 6),
        ("ik_llama.cpp", "2025-04-30", 360),
        ("ik_llama.cpp", "2025-05-31", 478),
        ("ik_llama.cpp", "2025-06-27", 560),
        ("ik_llama.cpp", "2027-01-01", NEWEST_BUILD),
        ("llama.cpp", "2025-05-14", 13435),
        ("llama.cpp", "2026-01-22", 19012),
    ],
)
def test_days_of_known_pull_requests(runtime: str, day: str, build: int) -> None:
    """A day of the table is exact; before the first it is the first, after the last the newest."""
    assert _build(runtime, f"https://example.org; {day}; numbers only") == build


@pytest.mark.parametrize(
    ("day", "number"),
    [("2025-03-16", 259), ("2025-05-26", 461), ("2025-06-12", 520), ("2025-07-16", 612)],
)
def test_days_between_are_near(day: str, number: int) -> None:
    """Pull requests that are not in the table, by the day on which each was merged or measured."""
    assert _build("ik_llama.cpp", f"https://example.org; {day}") == pytest.approx(number, abs=12)


def test_a_thread_goes_on_after_its_number() -> None:
    """A comment is as late as its day; a pull request that was not merged yet has its number."""
    assert _build("ik_llama.cpp", f"{IK}/discussions/258; 2025-07-10") > 580
    assert _build("ik_llama.cpp", f"{IK}/pull/590; 2025-06-27") == 590


def test_a_program_in_a_thread_of_the_other() -> None:
    """It is as old as the day on which the thread was opened, unless a later day is stated."""
    assert _build("llama.cpp", f"{IK}/pull/180") == pytest.approx(11474, abs=60)
    assert _build("llama.cpp", f"{IK}/pull/180; 2025-05-14") == 13435
    assert _build("llama.cpp", f"{IK}/discussions/357") == pytest.approx(13150, abs=40)
    assert _build("llama.cpp", f"{IK}/pull/99999") > 27_000
    assert _build("ik_llama.cpp", f"{MAIN}/pull/13435") == pytest.approx(412, abs=12)
    assert _build("ik_llama.cpp", f"{MAIN}/pull/99999") == NEWEST_BUILD
    assert _build("llama.cpp", f"{MAIN}/pull/13435") == 13435


NUMBERS = st.integers(1, 99_999)
DAYS = st.dates(date(2023, 1, 1), date(2027, 12, 31)).map(date.isoformat)


@given(NUMBERS, NUMBERS, DAYS)
def test_version_first_then_the_thread(number: int, thread: int, day: str) -> None:
    """The version says which pull requests a build has, else the number of the thread; KTransformers'
    changes are not told apart.
    """
    assert _build("ik_llama.cpp", f"{IK}/pull/{thread}; {day}", f"PR #{number}, x") == number
    assert _build("ik_llama.cpp", "", f"main of PR #{number}") == number - 1
    assert _build("ik_llama.cpp", f"{IK}/discussions/{thread}; licence: MIT") == thread
    assert _build("ik_llama.cpp", f"{IK}/pull/{thread}", "main") == thread - 1
    assert _build("ik_llama.cpp", "") == NEWEST_BUILD
    assert _build("ktransformers", f"{IK}/pull/{thread}; {day}", f"PR #{number}") == NEWEST_BUILD


@given(st.sampled_from(["ik_llama.cpp", "llama.cpp"]), DAYS, DAYS)
def test_days_never_go_back(runtime: str, day: str, other: str) -> None:
    """A later day is no older build."""
    earlier, later = (_build(runtime, f"x; {each}") for each in sorted((day, other)))
    assert 0 < earlier <= later <= NEWEST_BUILD
