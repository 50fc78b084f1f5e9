"""A refactor changes no result."""

from functools import cache
from typing import Any

import pytest

from tests.sim.golden import plan_figures, serving_figures, step_figures, written
from tests.sim.golden_plans import GOALS
from tests.sim.golden_serving import SERVED, SERVED_POLICIES
from tests.sim.golden_steps import SCENARIOS

PLANNED = (*GOALS, "study of link and batch")


@cache
def _written() -> dict[str, dict[str, Any]]:
    return written()


@cache
def _served() -> dict[str, dict[str, Any]]:
    return serving_figures()


@cache
def _planned() -> dict[str, dict[str, Any]]:
    return plan_figures()


@pytest.mark.parametrize("name", SCENARIOS)
def test_timeline_is_the_one_written_down(name: str) -> None:
    """A batch gives the timeline in golden.json; ``python -m tests.sim.golden`` writes it anew after a change that means to change it."""
    assert step_figures(SCENARIOS[name]) == _written()[name]


@pytest.mark.parametrize("name", [*SERVED, *SERVED_POLICIES])
def test_served_workload_is_the_one_written_down(name: str) -> None:
    """Every request of a served workload ends when golden.json says."""
    assert _served()[name] == _written()[name]


@pytest.mark.parametrize("name", PLANNED)
def test_plan_is_the_one_written_down(name: str) -> None:
    """A search finds the plan in golden.json, with its bounds; a study finds its points."""
    assert _planned()[name] == _written()[name]


def test_everything_written_down_is_checked() -> None:
    """golden.json holds the scenarios above and no other."""
    assert set(_written()) == {*SCENARIOS, *SERVED, *SERVED_POLICIES, *PLANNED}
