"""An exported mask, read by KTransformers' own functions out of its wheels.

The wheels need CUDA to be imported, so their functions are taken out of the source and run alone:

    pip download --no-deps -d wheels kt-kernel==0.7.2 sglang-kt==0.7.2
    ROSIN_KT_WHEELS=wheels pytest tests/validation/test_kt_own_mask.py
"""

import ast
import logging
import os
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from planner.export.ktransformers.mask import Counts, logical_count, mask_words
from sim.model.model import Model
from tests.sim.runtimes.examples import deepseek, qwen

torch = pytest.importorskip("torch")
WHEELS = os.environ.get("ROSIN_KT_WHEELS")
pytestmark = pytest.mark.skipif(WHEELS is None, reason="ROSIN_KT_WHEELS names no folder of wheels")

SOURCES = (
    ("kt_kernel-*.whl", "kt_kernel/experts_base.py", "generate_gpu_experts_masks"),
    ("sglang_kt-*.whl", "sglang/srt/layers/moe/kt_ep_wrapper.py", "_init_kt_gpu_experts_masks"),
)


def _own_functions() -> dict[str, Any]:
    """KTransformers' two functions, with what they look up in their modules replaced."""
    names: dict[str, Any] = {
        "torch": torch,
        "logger": logging.getLogger("kt"),
        "dist": SimpleNamespace(is_initialized=lambda: False),
        "get_tensor_model_parallel_rank": lambda: 0,
        "_KT_GPU_EXPERTS_MASKS": None,
    }
    for wheel, member, function in SOURCES:
        (path,) = Path(str(WHEELS)).glob(wheel)
        with zipfile.ZipFile(path) as archive:
            tree = ast.parse(archive.read(member))
        found = next(
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name == function
        )
        # Hints name classes that are not here.
        lines = ast.unparse(found)
        exec("from __future__ import annotations\n" + lines, names)
    return names


def _mask(model: Model, counts: Counts, path: Path) -> np.ndarray:
    from validation.runtimes.ktransformers import save_mask

    save_mask(counts, path)
    words = mask_words(model, counts, str(path))
    said = dict(zip(words[::2], words[1::2], strict=True))
    config = SimpleNamespace(
        num_hidden_layers=model.num_layers,
        num_experts=model.num_experts,
        first_k_dense_replace=model.moe_layers[0],
    )
    arguments = SimpleNamespace(
        get_hf_config=lambda: config,
        kt_gpu_experts_ratio=float(said["--kt-gpu-experts-ratio"]),
        kt_num_gpu_experts=None,
        kt_expert_placement_strategy=said["--kt-expert-placement-strategy"],
        init_expert_location=said["--init-expert-location"],
    )
    return np.asarray(_own_functions()["_init_kt_gpu_experts_masks"](arguments))


@pytest.mark.parametrize("seed", range(6))
def test_the_program_makes_the_mask_of_the_file(seed: int, tmp_path: Path) -> None:
    """Random experts of each layer are on the GPU by KTransformers' own rule, and no others."""
    generator = random.Random(seed)
    model = (qwen(), deepseek())[seed % 2]
    experts = [
        generator.sample(range(layer.num_experts), generator.randint(0, layer.num_experts))
        if layer.is_moe
        else []
        for layer in model.layers
    ]
    counts = logical_count(model, experts)
    layers = list(model.moe_layers)
    mask = _mask(model, counts, tmp_path / "plan.pt")
    assert np.array_equal(mask[layers], counts[0, layers] > 0)
