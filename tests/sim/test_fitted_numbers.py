"""The numbers of a fitted generator: what a file may state, and that it comes back as it was."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwprofiles import InputError
from hwprofiles.text_file import write_yaml
from sim.routing.fitted_numbers import FittedNumbers, GateProfile
from sim.routing.library import load_spec

GENERATOR: dict[str, Any] = {
    "top_k": 1,
    "class_share": [0.5, 0.5],
    "class_chain": [[0.9, 0.1], [0.2, 0.8]],
    "class_kept": [0.1],
    "copy_kernel": [0.75, 0.25],
    "copied": [0.1, 0.2, 0.3],
    "request_spread": [0.5, 0.5, 0.5],
    "drift_spread": [0.0, 0.0, 0.0],
    "drift_tokens": 64.0,
    "linked_fraction": 0.25,
    "gate": {
        "log_mean": [[-0.5], [-0.5], [-0.5]],
        "log_spread": [[0.1], [0.1], [0.1]],
        "correlation": 0.5,
    },
    "sequence_num_tokens": [5, 7],
    "inclusion": [[[0.5, 0.5]] * 3, [[0.25, 0.75]] * 3],
}
"""Two classes, three MoE layers, two experts."""


def _load(path: Path, **changes: Any) -> Any:
    common = {
        "format": "rosin-routing/1",
        "name": "made up",
        "num_experts": 2,
        "kind": "fitted",
        "source": "a test",
        "date": "2026",
    }
    stated = {key: value for key, value in (GENERATOR | changes).items() if value is not None}
    write_yaml(common | {"generator": stated}, path / "routing.yaml")
    return load_spec(path / "routing.yaml")


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    """Each number stands in the object, and in what is written of it."""
    spec = _load(tmp_path)
    assert spec.model_dump(mode="json", exclude_defaults=True)["generator"] == GENERATOR
    assert list(GENERATOR) == [item.name for item in fields(FittedNumbers)]
    assert list(GENERATOR["gate"]) == [item.name for item in fields(GateProfile)]
    np.testing.assert_array_equal(spec.generator.class_chain, GENERATOR["class_chain"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"copied": [0.1, 1.5, 0.3]}, r"generator.copied: must be from 0 to 1, got 1.5"),
        ({"request_spread": [0.1, -2, 0]}, "request_spread: must be from 0 to .*got -2"),
        ({"class_chain": [[0.9, 0.1], [1.0]]}, "class_chain: must be numbers, each row as long"),
        ({"class_share": ["many", 0.5]}, "class_share: must be numbers"),
        ({"drift_spread": [0.1, float("nan"), 0]}, "drift_spread: must be finite"),
        ({"class_share": 0.5}, "inclusion must be .* for the 1 classes"),
        ({"class_share": []}, "inclusion must be .* for the 0 classes"),
        ({"inclusion": [[0.5, 0.5]] * 2}, "inclusion must be"),
        ({"class_chain": [[1.0]]}, "class_chain must be 2 x 2 numbers, .*got 1"),
        ({"class_kept": [[0.1]]}, "class_kept must be 1 numbers"),
        ({"copied": [0.1]}, "copied must be 3 numbers"),
        ({"top_k": 2}, "must sum to top_k = 2, one is 50% off|gate.log_mean must be 3 x 2"),
        ({"copy_kernel": [0.5, 0.25]}, "copy_kernel must sum to 1, got 0.750"),
        ({"class_chain": [[0.9, 0.1], [0.2, 0.2]]}, "class_chain must sum to 1, got 0.400"),
        ({"class_kept": [0.9, 0.9]}, "class_kept must sum to at most 1"),
        ({"gate": GENERATOR["gate"] | {"log_spread": [[0.1]] * 2}}, "gate.log_spread must be"),
        ({"sequence_num_tokens": None}, "key sequence_num_tokens is missing"),
        ({"inclusion": [[[0.5, 0.4]] * 3, [[0.25, 0.75]] * 3]}, "must sum to top_k = 1"),
        ({"copid": [1]}, "unknown key generator.copid; did you mean 'copied'"),
        ({"gate": 3}, "gate: write a mapping with the keys log_mean, log_spread, correlation"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """One line names the file, the key, the value and what would be right."""
    with pytest.raises(InputError, match=message) as raised:
        _load(tmp_path, **changes)
    assert "routing.yaml: " in str(raised.value) and "\n" not in str(raised.value)
