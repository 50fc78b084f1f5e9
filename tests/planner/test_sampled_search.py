"""A search that foretells long runs from their first tokens finds what one finds that runs them
whole.
"""

from collections.abc import Iterator

import pytest

from planner.search.objectives import Goal
from planner.search.search import Search, search
from sim.costs.compute_buffers import compute_buffer_bytes
from sim.policies import POLICIES
from sim.step.metrics import Metrics
from sim.step.simulate import Question
from sim.workload.batch import Batch
from tests.planner.test_search import FAST_LINK, SLOW_LINK, _scenario
from tests.sim.small import small_machine
from tests.sim.test_sampled import LARGER

BATCHES = (
    Batch(prompt_tokens=5, output_tokens=300),
    Batch(prompt_tokens=200, output_tokens=400),
    Batch(prompt_tokens=6, output_tokens=280, batch_size=3),
)
GOALS = (Goal(), Goal(objective="tpot"), Goal(objective="ttft"), Goal(is_lossless=False))
NUM_DRAWS = 4
CLOSE = 0.08
"""By how much a foretold speed may miss: these models select some twenty experts a token."""


def _grid() -> Iterator[Question]:
    """Cards that hold part of the model, behind links from slow to fast, each with another load."""
    cards = ((0.45, SLOW_LINK), (0.6, 5e9), (0.8, FAST_LINK))
    for model, order in zip(LARGER, (BATCHES, BATCHES[::-1]), strict=True):
        for (share, rate), batch in zip(cards, order, strict=True):
            tokens = batch.num_sequences * batch.prompt_tokens
            working = compute_buffer_bytes(model, tokens, batch.context_tokens, has_head=True)
            kv_bytes = batch.num_sequences * model.kv_bytes(batch.context_tokens)
            room = share * model.total_bytes + working + kv_bytes
            yield _scenario(model, small_machine(room, rate, overhead_ns=900), batch)


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.objective}-{goal.is_lossless}")
def test_the_plan_is_that_of_whole_runs(goal: Goal) -> None:
    """The same policy, figures, timeline and draws; rivals' figures are theirs, or nearly."""
    num_sampled = 0
    for question in _grid():
        found, whole = (
            search(question, goal, NUM_DRAWS, has_samples=has_samples)
            for has_samples in (True, False)
        )
        assert isinstance(found, Search) == isinstance(whole, Search)
        if not isinstance(found, Search) or not isinstance(whole, Search):
            continue
        assert found.policy == whole.policy
        assert found.metrics == whole.metrics
        assert found.best.timeline.digest == whole.best.timeline.digest
        assert found.num_tried == whole.num_tried
        num_sampled += _check_rivals(found, whole)
    assert num_sampled


def _check_rivals(found: Search, whole: Search) -> int:
    """Compare rivals of both searches; return how many were sampled."""
    own = {rival.policy: rival for rival in whole.rivals}
    assert {rival.policy for rival in found.rivals} == set(own) == set(POLICIES)
    num_sampled = 0
    for rival in found.rivals:
        real = own[rival.policy].outcome
        if rival.num_sampled_tokens is None:
            continue
        assert isinstance(rival.outcome, Metrics) and isinstance(real, Metrics)
        assert rival.outcome.ttft_s == pytest.approx(real.ttft_s, rel=CLOSE)
        assert rival.outcome.end_to_end_s == pytest.approx(real.end_to_end_s, rel=CLOSE)
        num_sampled += 1
    return num_sampled


def test_a_limit_for_the_first_token_is_kept_alike() -> None:
    """With a constraint that most policies miss, both searches plan the same."""
    question = next(_grid())
    free = search(question, Goal(objective="ttft"), NUM_DRAWS)
    assert isinstance(free, Search)
    goal = Goal(max_ttft_s=1.05 * free.best.metrics.ttft_s)
    found, whole = (
        search(question, goal, NUM_DRAWS, has_samples=has_samples) for has_samples in (True, False)
    )
    assert isinstance(found, Search) and isinstance(whole, Search)
    assert found.metrics == whole.metrics
