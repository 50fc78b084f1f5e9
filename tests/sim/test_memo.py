"""What is remembered: kept while there is room, told apart by its key, and changing no run."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.costs.memory import Residency
from sim.memo import Memo, Same, num_array_bytes, remembered
from sim.policies import POLICIES
from sim.routing import uniform
from sim.step.simulate import Scenario, draw, problem_of, run_drawn
from sim.workload.batch import Batch
from tests.sim.small import small_machine, small_model

MAX_BYTES = 1_000
SOON_S = 10.0
SHARING = [name for name, policy in POLICIES.items() if policy.prefetch.is_of_draw]


def test_who_asks_meanwhile_waits() -> None:
    """Of two threads that ask for the same at once, one makes it; both get that very value."""
    memo = Memo(MAX_BYTES, num_array_bytes)
    is_making, may_end = Event(), Event()
    made = []

    def make() -> np.ndarray:
        is_making.set()
        may_end.wait(SOON_S)
        made.append(np.array([len(made)]))
        return made[-1]

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(memo.get, "a", make)
        is_making.wait(SOON_S)
        second = threads.submit(memo.get, "a", make)
        may_end.set()
        assert first.result() is second.result()
    assert len(made) == 1


def test_who_waited_for_a_failure_makes_its_own() -> None:
    """What a thread raises is its own; one that waited for it gets a value, and so does a later one."""
    memo = Memo(MAX_BYTES, num_array_bytes)
    is_making, may_fail = Event(), Event()

    def fail() -> np.ndarray:
        is_making.set()
        may_fail.wait(SOON_S)
        raise InputError("no such prediction")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(memo.get, "a", fail)
        is_making.wait(SOON_S)
        second = threads.submit(memo.get, "a", lambda: np.array([5]))
        may_fail.set()
        with pytest.raises(InputError, match="no such prediction"):
            first.result()
        assert second.result().tolist() == [5]
    assert memo.get("a", lambda: np.array([6])).tolist() in ([5], [6])


@pytest.mark.parametrize("name", SHARING)
def test_runs_are_the_same_with_what_others_left(name: str) -> None:
    """On two machines of other speeds and memory, over two draws, a run that finds what another
    predicted is the run it would be alone.
    """
    shared, base = Memo(10_000_000, num_array_bytes), _scenario(name)
    draws = {
        seed: replace(draw(replace(base, seed=seed), base.policy.feeding), shared=shared)
        for seed in (1, 2)
    }
    for speed, slots, seed in ((0.2e9, 3, 1), (0.4e9, 5, 1), (0.4e9, 4, 2)):
        scenario = replace(
            base, machine=small_machine(link_bytes_per_s=speed), slots_per_layer=slots, seed=seed
        )
        problem = problem_of(scenario)
        residency = scenario.policy.placement.place(problem)
        assert isinstance(residency, Residency)
        together, alone = (
            run_drawn(scenario, problem, residency, replace(draws[seed], shared=each))
            for each in (shared, None)
        )
        assert (
            together.timeline.digest == alone.timeline.digest and together.metrics == alone.metrics
        )


def _scenario(name: str) -> Scenario:
    return Scenario(
        machine=small_machine(),
        model=small_model(num_layers=4),
        batch=Batch(prompt_tokens=6, output_tokens=20, batch_size=2),
        policy=POLICIES[name],
        routing=uniform(),
    )


def test_a_function_is_remembered_by_its_arguments() -> None:
    """By place and by name, up to the size; what it raises is not kept, and its name stays."""
    asked: list[tuple[int, int]] = []

    @remembered(2)
    def divided(one: int, by: int = 1) -> float:
        """Is asked once for each pair that is kept."""
        asked.append((one, by))
        return one / by

    assert [divided(1), divided(1), divided(6, by=3), divided(6, by=3)] == [1, 1, 2, 2]
    assert asked == [(1, 1), (6, 3)]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            divided(1, by=0)
    assert asked[2:] == [(1, 0), (1, 0)]
    divided(7)
    divided(1)
    assert asked[4:] == [(7, 1), (1, 1)]
    assert divided.__name__ == "divided"


def test_an_array_counts_as_itself() -> None:
    """In a key, another array is another, though equal."""
    memo, one, other = Memo(MAX_BYTES), np.zeros(3, np.int32), np.zeros(3, np.int32)
    first = memo.get((Same(one), "a"), lambda: np.array([1]))
    assert memo.get((Same(one), "a"), lambda: np.array([2])) is first
    assert memo.get((Same(other), "a"), lambda: np.array([3])).tolist() == [3]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=40), st.integers(0, 60))
def test_what_was_asked_for_longest_ago_goes_first(
    asked: list[tuple[int, int]], max_size: int
) -> None:
    """Against a plain list: each key gives what was computed first while that is kept; what is
    larger by itself is not kept, and drives nothing out.
    """
    memo = Memo(max_size, lambda value: value[1])  # type: ignore[index]
    kept: list[tuple[int, tuple[int, int]]] = []
    for number, (key, size) in enumerate(asked):
        found = memo.get(key, lambda made=(number, size): made)  # type: ignore[misc]
        place = next((place for place, (own, _) in enumerate(kept) if own == key), None)
        if place is not None:
            kept.append(kept.pop(place))
            assert found == kept[-1][1]
            continue
        assert found == (number, size)
        if size <= max_size:
            kept.append((key, found))
        while sum(each[1] for _, each in kept) > max_size:
            kept.pop(0)
