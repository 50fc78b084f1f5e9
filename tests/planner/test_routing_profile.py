"""CSVs for a static cache of experts: the most chosen of each layer are the plan's."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from planner.export.llama_cpp.routing_profile import profile_csv, profile_words
from sim.model.library import load_model
from tests.sim.runtimes.examples import deepseek, qwen


@given(seed=st.integers(0, 10**6))
@settings(max_examples=6)
def test_the_most_chosen_are_the_plans(seed: int) -> None:
    """Read as the program reads it, each layer's most chosen experts are those of the plan."""
    generator = random.Random(seed)
    model = (qwen(), deepseek())[seed % 2]
    experts = [
        generator.sample(range(layer.num_experts), generator.randint(0, 40)) if layer.is_moe else []
        for layer in model.layers
    ]
    counted: dict[int, Counter[int]] = {}
    for line in profile_csv(model, experts).splitlines():
        position, layer, *chosen = map(int, line.split(","))
        assert position >= 0
        assert len(chosen) <= model.top_k
        counted.setdefault(layer, Counter()).update(chosen)
    for layer, own in enumerate(experts):
        found = counted.get(layer, Counter())
        assert {expert for expert, _ in found.most_common(len(own))} == set(own)


def test_slots_are_those_of_the_fullest_layer() -> None:
    """The program has one number for all layers."""
    words = profile_words([[1], [2, 3, 5], []], "profile.csv")
    assert words[-1] == "3"
    assert "profile.csv" in words


def test_nothing_to_place_is_refused() -> None:
    """Dense models, and plans without a resident expert."""
    with pytest.raises(InputError, match="no experts to place"):
        profile_csv(load_model("llama-3.1-8b"), [])
    with pytest.raises(InputError, match="holds no expert"):
        profile_csv(qwen(), [[]] * qwen().num_layers)
