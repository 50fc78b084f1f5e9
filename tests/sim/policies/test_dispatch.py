"""What dispatches decide, against enumeration."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.costs.cost_model import CostModel
from sim.policies import Action, Problem, find_policy
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.routing import uniform
from sim.step.rules.assign import assign
from sim.step.simulate import Scenario, problem_of
from sim.workload.batch import Batch
from tests.sim.small import small_machine, small_model


def _problem(link_bytes_per_s: float) -> Problem:
    return problem_of(
        Scenario(
            machine=small_machine(link_bytes_per_s=link_bytes_per_s),
            model=small_model(num_experts=6),
            batch=Batch(prompt_tokens=1, output_tokens=1),
            policy=find_policy("fiddler"),
            routing=uniform(),
        )
    )


@settings(max_examples=60)
@given(
    tokens=st.lists(st.integers(0, 40), min_size=6, max_size=6),
    is_held=st.lists(st.booleans(), min_size=6, max_size=6),
    rate=st.sampled_from([0.2e9, 1e9, 5e9]),
)
def test_balanced_finds_the_best_of_all_splits(
    tokens: list[int], is_held: list[bool], rate: float
) -> None:
    """With prices that grow with tokens, no other split of the misses ends earlier by more than the
    GPU runs differ.
    """
    problem = _problem(rate)
    is_miss = np.array(tokens, bool) & ~np.array(is_held)
    cpu, fetch = _lanes(problem, tokens)
    actions = assign(BalancedDispatch(), 0, np.array(tokens, np.int32), is_miss, problem)
    misses = np.flatnonzero(is_miss).tolist()

    def end(on_cpu: set[int]) -> int:
        return max(
            sum(cpu[expert] for expert in on_cpu),
            sum(fetch[expert] for expert in misses if expert not in on_cpu),
        )

    found = end({expert for expert in misses if actions[expert] == Action.CPU})
    best = min(
        end({expert for expert, chosen in zip(misses, split, strict=True) if chosen})
        for split in product((0, 1), repeat=len(misses))
    )
    slack = len(misses) * (max(fetch) - min(fetch))
    assert best <= found <= best + slack


def test_cheapest_compares_its_line_with_one_copy_and_run() -> None:
    """The paper's rule for each expert on its own: n tokens at the price of one each, against copy
    and one run; a tie stays on the CPU.
    """
    problem = _problem(1e9)
    costs = CostModel(machine=problem.machine, model=problem.model)
    one = int(costs.expert("cpu", 0, 1).ns)
    other = int(costs.copy("h2d", problem.model.expert_bytes, is_pinned=False).ns) + int(
        costs.expert("gpu", 0, 1).ns
    )
    tokens = np.array([1, other // one, other // one + 1, 100, 0, 0], np.int32)
    actions = assign(CheapestDispatch(), 0, tokens, tokens > 0, problem)
    assert actions[:4].tolist() == [Action.CPU, Action.CPU, Action.FETCH, Action.FETCH]


@pytest.mark.parametrize("tokens", [9, 10, 11])
def test_the_released_constants_fetch_from_ten_tokens(tokens: int) -> None:
    """7 ms a token on the CPU against 70 ms: at 10 tokens they tie, and the released code fetches."""
    row = np.full(6, tokens, np.int32)
    actions = assign(CheapestDispatch(believed_cost="code"), 0, row, row > 0, _problem(1e9))
    assert set(actions.tolist()) == {Action.FETCH if tokens >= 10 else Action.CPU}


@pytest.mark.parametrize("tokens", [5, 6])
def test_the_cpp_branchs_constants_fetch_from_six_tokens(tokens: int) -> None:
    """7 ms a token on the CPU against 40 ms for a copy and 0.6 ms on the GPU."""
    row = np.full(6, tokens, np.int32)
    actions = assign(CheapestDispatch(believed_cost="cpp"), 0, row, row > 0, _problem(1e9))
    assert set(actions.tolist()) == {Action.FETCH if tokens > 5 else Action.CPU}


def _lanes(problem: Problem, tokens: list[int]) -> tuple[list[int], list[int]]:
    costs = CostModel(machine=problem.machine, model=problem.model)
    count = np.maximum(tokens, 1)
    copy = int(
        costs.copy("h2d", problem.model.expert_bytes, is_pinned=problem.overlap.is_pinned).ns
    )
    return costs.expert("cpu", 0, count).ns.tolist(), (
        costs.expert("gpu", 0, count).ns + copy
    ).tolist()
