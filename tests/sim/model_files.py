"""What every model file that Rosin writes must allow: reading it back, and editing it by a script."""

from pathlib import Path
from typing import Any

import yaml

from sim.model.library import load_model, save_model
from sim.model.model import Model

COUNTS = ("kv_elements_per_token", "score_elements", "value_elements")
"""What a user changes to say how much a layer attends to."""


def check_file(model: Model, folder: Path) -> None:
    """Write the model: the file equals it, and every layer states its attention in numbers.

    Raises AssertionError.
    """
    path = folder / "written.yaml"
    save_model(model, path)
    assert load_model(str(path)) == model

    content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    for group in content["tensors"]["layers"]:
        attention = group["attention"]
        assert all(type(attention[name]) is int for name in COUNTS), group
        # A layer without keys attends to nothing: the file must say so already.
        if not attention["kv_elements_per_token"]:
            attention["score_elements"] = attention["value_elements"] = 0

    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert load_model(str(path)) == model
