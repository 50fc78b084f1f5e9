"""Masks for KTransformers: its own rule, given the counts and the ratio, places what was asked."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwprofiles import InputError
from planner.export.ktransformers.mask import (
    gpu_experts_ratio,
    logical_count,
    mask_words,
)
from sim.model.library import load_model
from sim.model.model import Model
from tests.sim.runtimes.examples import deepseek, qwen


def placed_by_rule(model: Model, counts: NDArray[np.float32], ratio: float) -> NDArray[np.bool_]:
    """Return what the runtime's rule makes of counts and ratio, dense layers left out."""
    own = counts[0, list(model.moe_layers)]
    num_on_gpu = int(ratio * own.size)
    order = np.argsort(-own.ravel(), kind="stable")
    mask = np.zeros(own.size, bool)
    mask[order[:num_on_gpu]] = True
    return mask.reshape(own.shape)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_the_rule_gives_the_mask_back(seed: int) -> None:
    """Random experts of each layer, also with dense layers before them."""
    generator = random.Random(seed)
    model = generator.choice((qwen(), deepseek()))
    experts = [
        generator.sample(range(layer.num_experts), generator.randint(0, layer.num_experts))
        if layer.is_moe
        else []
        for layer in model.layers
    ]
    counts = logical_count(model, experts)
    assert counts.shape == (1, model.num_layers, model.num_experts)
    mask = placed_by_rule(model, counts, gpu_experts_ratio(model, counts))
    assert np.array_equal(mask, counts[0, list(model.moe_layers)] > 0)


def test_what_has_no_experts_is_refused() -> None:
    """Dense models, and dense layers of others."""
    with pytest.raises(InputError, match="no experts to place"):
        logical_count(load_model("llama-3.1-8b"), [])
    with pytest.raises(InputError, match="layer 0 of deepseek-v3 is dense"):
        logical_count(deepseek(), [[1]])


def test_the_file_is_what_torch_reads(tmp_path: Path) -> None:
    """The file has the counts under the name that sglang-kt looks for."""
    torch = pytest.importorskip("torch")
    from validation.runtimes.ktransformers import save_mask

    counts = logical_count(qwen(), [[5]] * 48)
    path = tmp_path / "plan.pt"
    save_mask(counts, path)
    read = torch.load(path, weights_only=True)["logical_count"]
    assert np.array_equal(read.numpy(), counts)


@given(st.integers(0, 256), st.integers(0, 256))
@settings(max_examples=20)
def test_the_ratio_survives_being_written(number: int, other: int) -> None:
    """The digits on the command line still give as many experts."""
    held = [[]] * 3 + [list(range(number))] * 29 + [list(range(other))] * 29
    if not number + other:
        return
    counts = logical_count(deepseek(), held)
    words = mask_words(deepseek(), counts, "plan.pt")
    ratio = float(words[words.index("--kt-gpu-experts-ratio") + 1])
    assert placed_by_rule(deepseek(), counts, ratio).sum() == 29 * (number + other)
