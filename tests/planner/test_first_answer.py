"""The answer before a search: near to it, and silent where nothing usual fits."""

import pytest

from planner.search.first_answer import first_answer
from planner.search.objectives import Goal
from planner.search.search import Search, search
from planner.search.setting import Setting
from sim.step.simulate import Question


def _question(**changes: object) -> Question:
    setting = Setting(
        model="granite-3-1b-a400m",
        machine="desktop-rtx-3060-ddr4",
        prompt_tokens=40,
        output_tokens=24,
        batch_size=4,
    )
    return setting.model_copy(update=changes).question()


@pytest.mark.parametrize("memory", ["12GB", "1.7GB"])
def test_it_is_near_to_what_a_search_finds(memory: str) -> None:
    """The whole model on the GPU, or a part of it: within a fifth of the search's speed."""
    question = _question(machine_overrides=(f"gpu.memory_bytes={memory}",))
    found = first_answer(question, Goal())
    searched = search(question, Goal(), 1)
    assert found is not None and isinstance(searched, Search)
    speed = found.metrics.output_tokens_per_s / searched.best.metrics.output_tokens_per_s
    assert 0.8 < speed < 1.2
    assert (found.policy.name == "all-on-gpu") == (memory == "12GB")


def test_a_goal_chooses_among_them() -> None:
    """Asked for the first token, it is never later than where it was asked for speed."""
    question = _question(machine_overrides=("gpu.memory_bytes=1.7GB",), prompt_tokens=4_000)
    early = first_answer(question, Goal(objective="ttft"))
    fast = first_answer(question, Goal())
    assert early is not None and fast is not None
    assert early.metrics.ttft_s <= fast.metrics.ttft_s


def test_nothing_usual_fits() -> None:
    """A card without room for anything but buffers has no first answer."""
    question = _question(machine_overrides=("gpu.memory_bytes=0.1GB",))
    assert first_answer(question, Goal()) is None
