"""What other processes take from runs of real operations: counted by CPU time, and left out."""

import gc
import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles.units import NS_PER_S
from sim.engine.task import TaskKind
from sim.policies.table import POLICIES
from tests.sim.small import MODELS
from tests.validation.backend_runs import BATCHES, case
from validation.backend.cores import Worker
from validation.backend.lane import Lane
from validation.backend.pacing import without_garbage_search
from validation.backend.ticket import Pace, TaskLabel, Ticket, Work
from validation.comparison.compare import ErrorSummary, RunComparison
from validation.comparison.rounds import PairedRun, PlanErrors, kendall_tau_of, undisturbed

SLEPT_S = 0.05


def _ticket(work: Work, duration_ns: int = 0) -> Ticket:
    return Ticket(0, TaskLabel(TaskKind.EXPERT), duration_ns, 0, work)


def _sleeps() -> int:
    time.sleep(SLEPT_S)
    return 0


def _run(pace: Pace, *tickets: Ticket) -> None:
    lane = Lane("test", pace, Worker())
    for ticket in tickets:
        lane.submit(ticket)
    lane.close()


def test_time_without_a_core_is_counted() -> None:
    """A task whose thread rests in the middle of its work has lost that time."""
    ticket = _ticket(_sleeps)
    _run(Pace.OWN, ticket)
    assert 0.8 * SLEPT_S * NS_PER_S < ticket.lost_ns <= ticket.busy_ns


def test_paced_tasks_lose_nothing() -> None:
    """What is slept out to its duration is to rest."""
    ticket = _ticket(lambda: 0, duration_ns=round(SLEPT_S * NS_PER_S))
    _run(Pace.PADDED, ticket)
    assert ticket.lost_ns == 0


def _paired(lost_fraction: float) -> PairedRun:
    exact = ErrorSummary(median_fraction=0.0, p90_fraction=0.0, num_compared=1)
    none = RunComparison(
        predicted_ns=1,
        measured_ns=1,
        error_fraction=0.0,
        by_kind={},
        by_layer=exact,
        by_step=exact,
    )
    return PairedRun(plain=none, absolute=none, paired=none, lost_fraction=lost_fraction)


@pytest.mark.parametrize(
    ("shares", "kept"), [((0.01, 0.2), (0.01,)), ((0.2, 0.3), (0.2, 0.3)), ((0.0,), (0.0,))]
)
def test_preempted_runs_are_left_out(shares: tuple[float, ...], kept: tuple[float, ...]) -> None:
    """Those that lost more than one twentieth, unless a plan has no other runs."""
    runs = tuple(map(_paired, shares))
    assert tuple(run.lost_fraction for run in undisturbed(runs)) == kept


def test_no_run_is_held_up_by_a_search_for_garbage() -> None:
    """Python's search stops all lanes at once, for longer than a small run takes."""
    run = case(POLICIES["fiddler"], MODELS["plain"], BATCHES["one"])
    searches: list[bool] = []

    def search(_phase: str, _info: dict[str, int]) -> None:
        searches.append(any(thread.name.startswith("lane") for thread in threading.enumerate()))

    before = gc.get_threshold()
    gc.callbacks.append(search)
    try:
        gc.set_threshold(1)  # a search with nearly every object
        run.run()
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(search)
    assert searches
    assert not any(searches)
    assert gc.isenabled()


@given(depth=st.integers(0, 4), was_enabled=st.booleans())
def test_garbage_is_searched_again_as_before(depth: int, was_enabled: bool) -> None:
    """However deep the blocks lie in each other, and whether or not it was searched before."""
    before = gc.isenabled()
    try:
        (gc.enable if was_enabled else gc.disable)()
        with ExitStack() as stack:
            for _ in range(depth):
                stack.enter_context(without_garbage_search())
                assert not gc.isenabled()
        assert gc.isenabled() == was_enabled
    finally:
        (gc.enable if before else gc.disable)()


def _plan(name: str, predicted_ns: int) -> PlanErrors:
    run = _paired(0.0)
    return PlanErrors(
        name=name,
        measured_ns=len(name),
        predicted_ns=predicted_ns,
        plain_fraction=0.0,
        absolute_fraction=0.0,
        paired_fraction=0.0,
        noise_fraction=0.0,
        runs=(run,),
    )


@pytest.mark.parametrize(
    ("predicted_ns", "tau"), [((5,), None), ((5, 5), None), ((5, 6), 1.0), ((6, 5), -1.0)]
)
def test_plans_that_are_all_alike_have_no_order(
    predicted_ns: tuple[int, ...], tau: float | None
) -> None:
    """No number is made up for it: the statistic would be none."""
    plans = tuple(_plan("a" * (1 + place), each) for place, each in enumerate(predicted_ns))
    assert kendall_tau_of(plans) == tau
