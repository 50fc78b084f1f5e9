"""Hypotheses of one prompt share routing where they share tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.model.library import load_model
from sim.routing import load_routing
from sim.routing.beams import BeamRouting

MODEL = load_model("olmoe-1b-7b")
BASE = load_routing(None, MODEL)


@pytest.mark.parametrize("divergence", [0.0, 0.25, 0.5, 1.0])
def test_the_share_of_own_tokens_is_the_divergence(divergence: float) -> None:
    """So many tokens of a hypothesis differ from the first one's; 0 shares all, 1 none."""
    routing = BeamRouting(base=BASE, divergence=divergence)
    found, plain = (each.experts(MODEL, 8, 64, 0) for each in (routing, BASE))
    is_shared = (found == plain[0]).all(axis=(2, 3))
    assert 1 - is_shared[1:].mean() == pytest.approx(divergence, abs=0.03)
    assert np.array_equal(found[0], plain[0])
    assert np.array_equal(found[~is_shared], plain[~is_shared])


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=25)
def test_prompts_share_nothing_with_each_other(
    num_prompts: int, beams: int, num_tokens: int, seed: int
) -> None:
    """Sequence n is a hypothesis of prompt n modulo the number of prompts: with no divergence its
    tokens are that prompt's.
    """
    routing = BeamRouting(base=BASE, divergence=0.0, num_prompts=num_prompts)
    number = num_prompts * beams
    found, plain = (each.experts(MODEL, number, num_tokens, seed) for each in (routing, BASE))
    assert all(np.array_equal(found[each], plain[each % num_prompts]) for each in range(number))


@given(st.floats())
def test_a_divergence_beyond_1_is_refused(divergence: float) -> None:
    """One line says which values there are."""
    if 0 <= divergence <= 1:
        assert BeamRouting(base=BASE, divergence=divergence).divergence == divergence
        return
    with pytest.raises(InputError, match="between 0 and 1"):
        BeamRouting(base=BASE, divergence=divergence)
