"""Predictors of stated accuracy, against the rule written out row by row with the same random
numbers.
"""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.costs.memory import Residency
from sim.policies import find_policy
from sim.policies.foresight import Foresight
from sim.policies.prefetch.naming import BLOCK_PASSES, expected_tokens, named
from sim.routing import GeneratedRouting
from sim.routing.generated import UNIFORM
from sim.step.simulate import Scenario, draw, foresight_of, problem_of
from sim.workload.batch import Batch
from tests.sim.small import small_machine, small_model

NUM_LAYERS, NUM_EXPERTS, TOP_K = 4, 8, 2


def _foresight(batch_size: int, *, is_even: bool) -> Foresight:
    row = (1.0,) * NUM_EXPERTS if is_even else (5.0, 3.0, 1.0, 1.0, 2.0, 0.0, 1.0, 4.0)
    scenario = Scenario(
        machine=small_machine(),
        model=small_model(num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, top_k=TOP_K),
        # Numbers are drawn for a block of passes at a time: there are several blocks, the last shorter.
        batch=Batch(prompt_tokens=5, output_tokens=2 * BLOCK_PASSES + 6, batch_size=batch_size),
        policy=find_policy("lru"),
        routing=GeneratedRouting(
            label="test", stated_provenance=UNIFORM, weights=(row,) * NUM_LAYERS
        ),
    )
    problem = problem_of(scenario)
    residency = scenario.policy.placement.place(problem)
    assert isinstance(residency, Residency)
    return foresight_of(scenario, problem, residency, draw(scenario, scenario.policy.feeding))


def _written_out(
    foresight: Foresight,
    accuracy: list[np.ndarray],
    generator: np.random.Generator,
    *,
    by_token: bool,
    names_top_k: bool,
) -> np.ndarray:
    """What is expected [step, pass, layer, expert], from random numbers in the order of steps, for
    rows in need of them or not.
    """
    found = np.zeros((len(accuracy), *foresight.tokens.shape), np.int32)
    for step, right in enumerate(accuracy, start=1):
        shape = foresight.tokens[:, step:].shape
        chances, weights = generator.random(shape), generator.random(shape)
        for index, layer in np.ndindex(shape[:2]):
            tokens, popularity = (
                foresight.tokens[index, layer + step].copy(),
                foresight.problem.popularity[layer + step],
            )
            if names_top_k:
                tokens[np.argsort(-tokens, kind="stable")[TOP_K:]] = 0
            is_right = (tokens > 0) & (chances[index, layer] < right[layer + step])
            weight = np.where(
                tokens > 0, -1.0, weights[index, layer] ** (1.0 / np.maximum(popularity, 1e-12))
            )
            others = np.argsort(-weight, kind="stable")[
                : min(((tokens > 0) & ~is_right).sum(), (tokens == 0).sum())
            ]
            found[step - 1, index, layer + step] = np.where(is_right, tokens, 0)
            found[step - 1, index, layer + step, others] = popularity[others] > 0
        for index in np.flatnonzero(foresight.passes.num_tokens > 1) if by_token else ():
            found[step - 1, index, step:] = 0
        if by_token:
            _tokens_apart(foresight, found[step - 1], step, right, generator)
    return found


def _tokens_apart(
    foresight: Foresight,
    found: np.ndarray,
    step: int,
    right: np.ndarray,
    generator: np.random.Generator,
) -> None:
    several = np.flatnonzero(foresight.passes.num_tokens > 1)
    named_right = generator.binomial(foresight.tokens[several, step:], right[step:, None])
    for place, index in enumerate(several):
        for layer in range(step, NUM_LAYERS):
            wrong = (foresight.tokens[index, layer] - named_right[place, layer - step]).sum()
            found[index, layer] = named_right[place, layer - step]
            if wrong:
                popularity = foresight.problem.popularity[layer]
                found[index, layer] += generator.multinomial(wrong, popularity / popularity.sum())


@given(
    batch_size=st.integers(1, 4),
    is_even=st.booleans(),
    manner=st.sampled_from([{}, {"by_token": True}, {"names_top_k": True}]),
    seed=st.integers(0, 10**6),
    share=st.floats(0.2, 1.0),
)
@settings(max_examples=30)
def test_expectations_are_those_of_the_rule(
    batch_size: int, is_even: bool, manner: dict[str, bool], seed: int, share: float
) -> None:
    """Two steps ahead, of single tokens and of several, experts alike or not: each number of tokens
    is as the rule has it.
    """
    foresight, accuracy = (
        _foresight(batch_size, is_even=is_even),
        [np.linspace(0.2, share, NUM_LAYERS) ** step for step in (1, 2)],
    )
    found = expected_tokens(foresight, accuracy, np.random.default_rng(seed), **manner)
    stated = {"by_token": False, "names_top_k": False} | manner
    assert (found == _written_out(foresight, accuracy, np.random.default_rng(seed), **stated)).all()
    assert (found[0, :, 0] == 0).all() and (found[1, :, :2] == 0).all()


def test_what_is_expected_is_named() -> None:
    """Rows of pass, layer and expert, with their tokens, of all that is expected, and of nothing
    else.
    """
    foresight = _foresight(1, is_even=True)
    expected = expected_tokens(foresight, [np.full(NUM_LAYERS, 0.5)], np.random.default_rng(4))[0]
    rows, tokens = named(expected)
    again = np.zeros_like(expected)
    again[tuple(rows.T)] = tokens
    assert (again == expected).all() and (tokens > 0).all()


def test_a_layer_without_unselected_experts_names_nobody_instead() -> None:
    """Where a prompt selects every expert and the predictor is always wrong, nothing is named."""
    foresight = _foresight(1, is_even=True)
    tokens = foresight.tokens.copy()
    tokens[0] = 1
    found = expected_tokens(
        replace(foresight, tokens=tokens), [np.zeros(NUM_LAYERS)], np.random.default_rng(5)
    )
    assert not found[0, 0].any() and found[0, 1].any()
