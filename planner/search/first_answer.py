"""A first answer at once: the best of a few usual combinations, by their first tokens.

A search says what is best of all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from planner.search.candidates import candidates
from planner.search.objectives import Goal
from planner.search.trial import is_feasible
from planner.search.trials import Trials
from sim.policies import Policy
from sim.step.metrics import Metrics
from sim.step.simulate import Question, check_question

TRIED = ("all-on-gpu", "gain+cpu", "gain+split/4", "gain+timed/2", "layers+stream512/part")
"""One combination of each kind, whose placement takes little time.

A cache that comes and goes takes longer to simulate than all of these.
"""
CHUNK = "@2048"
"""The mark of chunked prefill that is also tried: where all prompts at once do not fit, chunks
mostly do.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """The best of what was tried; its metrics are of the whole run, as a short run foretells it."""

    policy: Policy
    metrics: Metrics


def first_answer(question: Question, goal: Goal) -> FirstAnswer | None:
    """Return the best of a few combinations on one draw; None where none of them fits. Raises
    InputError for what cannot be simulated.
    """
    check_question(question)
    trials = Trials([question])
    started = (trials.start(policy, is_named=False) for policy in _tried(question))
    fitting = [trial for trial in started if is_feasible(trial)]
    found = zip(fitting, trials.screened(fitting), strict=True)
    best = min(found, key=lambda pair: goal.rank(pair[1]), default=None)
    return None if best is None else FirstAnswer(policy=best[0].policy, metrics=best[1])


def _tried(question: Question) -> Iterator[Policy]:
    """Yield the candidates that TRIED names, with whole prompts and with prompts in chunks."""
    wanted = {f"{name}{mark}" for name in TRIED for mark in ("", CHUNK)}
    for policy in candidates(question):
        # Caches stand behind all that is wanted; what comes behind them takes long to make.
        if policy.cache.score is not None:
            return
        if policy.name in wanted:
            yield policy
