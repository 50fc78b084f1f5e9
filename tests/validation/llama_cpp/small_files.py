"""Small files and plans that the tests of llama.cpp share."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from validation.runtimes.llama_cpp import MoeShape

needs_wheel = pytest.mark.skipif(
    find_spec("xllamacpp") is None,
    reason="xllamacpp is not installed: pip install rosin[llama-cpp]",
)

TINY = MoeShape(
    name="tiny",
    num_layers=2,
    hidden=256,
    num_experts=4,
    top_k=2,
    expert_intermediate=256,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    vocab=512,
)


def plan_file(folder: Path, arguments: str = "[-t, '1', -ngl, '99']") -> Path:
    """A plan for llama.cpp, with the keys that running it reads."""
    path = folder / "plan.yaml"
    path.write_text(
        "format: rosin-plan/1\n"
        "setting: {model: granite-3-1b-a400m, machine: desktop-rtx-4090-ddr5}\n"
        f"runtime: {{name: llama.cpp, arguments: {arguments}}}\n",
        encoding="utf-8",
    )
    return path
