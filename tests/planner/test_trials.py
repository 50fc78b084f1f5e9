"""Trials: which run is kept, and that one made again is the same."""

from planner.search.candidates import named_systems
from planner.search.trials import Trials, is_feasible
from tests.planner.test_search import _grid


def test_the_best_first_run_is_kept_and_others_are_made_again() -> None:
    """What is asked for of a first draw is the run that was met, of the best the very object;
    nothing is kept that is never asked for.
    """
    trials = Trials(
        [next(_grid())],
        lambda trial, metrics: None if trial.policy.knows_future else (0.0, metrics.end_to_end_s),
    )
    named = [trials.start(policy, is_named=True) for policy in named_systems()]
    met = [trial for trial in trials.meet(named, 1) if is_feasible(trial)]
    end_s = {
        trial.policy.name: trial.metrics[0].end_to_end_s
        for trial in met
        if not trial.policy.knows_future
    }
    kept = [trial for trial in met if trials.first_run(trial) is trials.first_run(trial)]
    assert [end_s[trial.policy.name] for trial in kept] == [min(end_s.values())]
    for trial in met:
        run = trials.first_run(trial)
        assert run.metrics == trial.metrics[0]
        assert run.scenario.policy == trial.policy
