"""An exported device map, dispatched by accelerate itself: the outputs are those without it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from planner.runtimes.asked import Asked
from planner.runtimes.load import RuntimeLimits, RuntimeLoad
from planner.runtimes.plan_file import call_of
from sim.model.library import load_model
from sim.runtimes.tensors import tensors_of
from tests.planner.runtime_plans import planned, small_gpu
from tests.tiny_config import TINY_CONFIG

pytest.importorskip("accelerate")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NUM_LAYERS = 6
GIB_OF_HALF = 0.0014
"""Of a GPU that holds about half of the layers beside one that passes through it."""


def _planned_map(folder: Path) -> dict[str, int | str]:
    """The map of a plan for the saved model, some of whose layers do not fit."""
    model = load_model(str(folder), None)
    search = Asked(
        runtime="accelerate",
        model=model,
        quantization="bf16",
        host=replace(small_gpu(GIB_OF_HALF), memory_bytes=8e9),
        load=RuntimeLoad(prompt_tokens=8, output_tokens=4),
        limits=RuntimeLimits(margin_vram_bytes=0, reserve_ram_bytes=0),
        tensors=tensors_of(model),
    )
    (text,) = call_of(planned(search).best).arguments
    devices: dict[str, int | str] = json.loads(text)
    return devices


def test_outputs_are_equal(tmp_path: Path) -> None:
    """Without a GPU the CPU stands for it, and the disk for the host: accelerate copies the same
    modules by the same hooks.
    """
    torch.manual_seed(0)
    config = transformers.MixtralConfig(**{**TINY_CONFIG, "num_hidden_layers": NUM_LAYERS})
    saved = tmp_path / "model"
    transformers.MixtralForCausalLM(config).to(torch.bfloat16).save_pretrained(saved)
    plain = transformers.MixtralForCausalLM.from_pretrained(saved, dtype=torch.bfloat16)
    devices = _planned_map(saved)
    moved = {
        name: "disk" if device == "cpu" else "cpu" if device == 0 else device
        for name, device in devices.items()
    }
    assert set(moved.values()) == {"cpu", "disk"}
    dispatched = transformers.MixtralForCausalLM.from_pretrained(
        saved, device_map=moved, offload_folder=tmp_path / "off", dtype=torch.bfloat16
    )
    assert set(dispatched.hf_device_map.values()) == {"cpu", "disk"}
    tokens_BT = torch.arange(8).reshape(1, 8)
    with torch.no_grad():
        assert torch.equal(plain(tokens_BT).logits, dispatched(tokens_BT).logits)
