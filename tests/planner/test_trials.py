"""Trials: metrics are those of the whole run, and two that do the same are told from two that last as
long.
"""

from dataclasses import replace
from itertools import pairwise

from planner.search.candidates import named_systems
from planner.search.trial import Trial, is_feasible
from planner.search.trials import Trials
from sim.policies import POLICIES
from tests.planner.test_search import _grid


def _met() -> tuple[Trials, list[Trial]]:
    """Every named system that fits, on its first draw."""
    trials = Trials([next(_grid())])
    named = [trials.start(policy, is_named=True) for policy in named_systems()]
    return trials, [trial for trial in trials.meet(named, 1) if is_feasible(trial)]


def test_a_first_run_is_what_was_met() -> None:
    """Its metrics are those that the trial has; the last that was asked for is kept."""
    trials, met = _met()
    for trial in met:
        run = trials.first_run(trial)
        assert run.metrics == trial.metrics[0]
        assert run.scenario.policy == trial.policy
        assert trials.first_run(trial) is run


def test_alike_are_those_of_equal_timelines() -> None:
    """A policy under another name is alike; of named systems, those whose digests are equal."""
    trials, met = _met()
    for trial in met:
        twin = replace(trial, policy=replace(trial.policy, name="twin"))
        assert trials.are_alike(trial, twin)
    digests = [trials.first_run(trial).timeline.digest for trial in met]
    for (one, first), (other, second) in pairwise(zip(met, digests, strict=True)):
        assert trials.are_alike(one, other) == (first == second)
    assert len(set(digests)) < len(met) < len(POLICIES)
