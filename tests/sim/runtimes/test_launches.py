"""Layers that launch more kernels than others."""

import pytest

from hwprofiles.units import MICRO
from sim.model.library import load_model
from sim.runtimes.constants import shipped_constants
from sim.runtimes.prices import decode_seconds
from sim.runtimes.steps import steps_of
from sim.runtimes.work import COMPRESSING_LAYERS
from tests.sim.runtimes.examples import question


def test_layers_with_a_compressor_count_as_several() -> None:
    """Of DeepSeek-V4's 43 layers two keep every token, and launch as usual ones do."""
    model = load_model("deepseek-v4-flash")
    step = steps_of(question("-ngl 99 -cmoe", model=model)).decode
    assert step.work.gpu_layers == 2 + 41 * COMPRESSING_LAYERS
    seconds = decode_seconds(step, shipped_constants()).gpu_weights
    assert seconds > step.work.gpu_layers * shipped_constants().gpu_layer_us * MICRO


def test_all_other_layers_count_once() -> None:
    """A model of usual layers has as many as it has layers on the GPU, here the last of 48."""
    assert steps_of(question("-ngl 99 -cmoe")).decode.work.gpu_layers == 48
    assert steps_of(question("-ngl 25")).decode.work.gpu_layers == pytest.approx(24)
