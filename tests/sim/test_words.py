"""Every word of a file that stands for something is in a list: another is refused, with the closest
that is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwprofiles import InputError, load_machine
from hwprofiles.curve import Curve
from hwprofiles.formats import SHAPE_KEYS, WEIGHT_FORMATS
from planner.serving.kv_tiers import load_kv_tiers
from sim.costs.curve_shapes import attention_shape, expert_shape, gate_shape, head_shape
from sim.model.library import load_model, load_spec, save_model
from sim.model.model import TensorClass
from sim.model.quantization import FORMATS
from sim.routing.library import load_spec as load_routing_spec
from sim.serving.spec import load_serving
from sim.workload.requests import load_requests

DATED = {"kind": "assumed", "source": "this test", "date": "2024"}
CURVE = {"operation": "expert", "device": "gpu", "points": [[1, 1], [2, 2]], **DATED}
REQUESTS = {
    "format": "rosin-requests/1",
    "name": "a",
    "source": "b",
    "date": "2026",
    "num_requests": 1,
}
LENGTHS = {"prompt_tokens": 1, "output_tokens": 1}
TIERS = {"format": "rosin-kv/1", "name": "a", "host_bytes_per_rank": 1e9}
SERVING = {"format": "rosin-serving/1"}
TIER = {"name": "cpu", "capacity_bytes": 1e9}
ROUTING = {
    "format": "rosin-routing/1",
    "name": "a",
    "num_experts": 8,
    "source": "b",
    "date": "2024",
}


def _machine(change: Mapping[str, Any]) -> dict[str, Any]:
    from tests.hwprofiles.test_machine_errors import valid

    return valid() | change


def _with_rate(device: str, compute_type: str) -> dict[str, Any]:
    from tests.hwprofiles.test_machine_errors import valid

    data = valid()
    rates = data[device]["flops_per_s"]
    data[device]["flops_per_s"] = rates | {compute_type: rates["bf16"]}
    return data


FILES = [
    ("machine", _with_rate("gpu", "fb8"), "no compute type named 'fb8'; did you mean 'fp8'?"),
    ("machine", _with_rate("cpu", "bf61"), "no compute type named 'bf61'; did you mean 'bf16'?"),
    (
        "machine",
        _machine({"curves": [CURVE | {"dtype": "q4k"}]}),
        "no weight format named 'q4k'; did you mean 'q4_k'?",
    ),
    (
        "machine",
        _machine({"curves": [CURVE | {"operation": "experts"}]}),
        "got 'experts'; did you mean 'expert'?",
    ),
    (
        "machine",
        _machine({"curves": [CURVE | {"device": "gpuu"}]}),
        "got 'gpuu'; did you mean 'gpu'?",
    ),
    (
        "machine",
        _machine({"curves": [CURVE | {"kind": "mesured"}]}),
        "got 'mesured'; did you mean 'measured'?",
    ),
    (
        "machine",
        _machine({"curves": [CURVE | {"shape": {"hiden": 5}}]}),
        "no dimension of a shape named 'hiden'; did you mean 'hidden'?",
    ),
    ("tiers", TIERS | {"policy": "lruu"}, "no policy 'lruu'; did you mean 'lru'?"),
    ("tiers", TIERS | {"runs_in": "engines"}, "got 'engines'; did you mean 'engine'?"),
    (
        "tiers",
        TIERS | {"remote": {"url": "lm://a:1", "serde": "naif"}},
        "got 'naif'; did you mean 'naive'?",
    ),
    (
        "serving",
        SERVING | {"tiers": [TIER | {"policy": "fifi"}]},
        "no policy 'fifi'; did you mean 'fifo'?",
    ),
    ("serving", SERVING | {"balancing": "least-lives"}, "balancing: "),
    ("serving", SERVING | {"tiers": [TIER], "offload": {"mode": "in-proces"}}, "offload.mode: "),
    (
        "serving",
        SERVING | {"tiers": [TIER | {"read": {"bytes_per_s": 1, "date": "May"}}]},
        "'May' is not a date",
    ),
    (
        "requests",
        REQUESTS | {"lengths": LENGTHS, "arrivals": {"process": "poison", "requests_per_s": 1}},
        "did you mean 'poisson'?",
    ),
    ("routing", ROUTING | {"kind": "publishd"}, "did you mean 'published'?"),
]
READERS = {
    "machine": lambda path: load_machine(str(path)),
    "tiers": load_kv_tiers,
    "serving": lambda path: load_serving(path, {}, {}),
    "requests": lambda path: load_requests(str(path)),
    "routing": load_routing_spec,
}


@pytest.mark.parametrize(("reader", "data", "message"), FILES)
def test_a_word_that_nobody_knows(
    reader: str, data: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """The line names the file and the closest word."""
    path = tmp_path / "file.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        READERS[reader](path)  # type: ignore[no-untyped-call]
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_the_same_files_with_right_words(tmp_path: Path) -> None:
    """What the tests above change is otherwise a file that is read."""
    right = {
        "machine": _machine(
            {"curves": [CURVE | {"dtype": "q4_k", "shape": {"hidden": 5, "intermediate": 3}}]}
        ),
        "tiers": TIERS,
        "serving": SERVING | {"tiers": [TIER]},
        "requests": REQUESTS
        | {"lengths": LENGTHS, "arrivals": {"process": "poisson", "requests_per_s": 1}},
        "routing": ROUTING | {"kind": "published"},
    }
    for reader, data in right.items():
        path = tmp_path / f"{reader}.yaml"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        READERS[reader](path)  # type: ignore[no-untyped-call]


def _model_file(path: Path) -> dict[str, Any]:
    save_model(load_model("granite-3-1b-a400m", "4bit"), path)
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("tensor_class", ["expert", "norm", "embedding"])
def test_a_format_of_weights_that_nobody_knows(tensor_class: str, tmp_path: Path) -> None:
    """A model file whose weights are in no known format is refused, whichever class has it."""
    path = tmp_path / "model.yaml"
    data = _model_file(path)
    data["tensors"]["dtypes"][tensor_class] = "q4_kk"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(
        InputError,
        match=r"model\.yaml: tensors: no weight format named 'q4_kk'; did you mean 'q4_k'\?",
    ):
        load_spec(str(path))


def test_a_class_without_a_format(tmp_path: Path) -> None:
    """Every class that has weights says what they are stored in."""
    path = tmp_path / "model.yaml"
    data = _model_file(path)
    del data["tensors"]["dtypes"]["expert"]
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(InputError, match="dtypes must say what expert weights are stored in"):
        load_spec(str(path))


def test_lists_of_words_have_what_rosin_uses() -> None:
    """Every format that is computed with, and every dimension that a curve is looked for by, is in
    the lists.
    """
    assert set(FORMATS) <= WEIGHT_FORMATS
    assert Curve.model_fields["dtype"].default in WEIGHT_FORMATS
    model = load_model("gpt-oss-20b")
    layer = model.layers[0]
    attention = attention_shape(model.hidden, layer.attention, layer.params[TensorClass.ATTENTION])
    assert {
        *attention,
        *expert_shape(model),
        *gate_shape(model, 0),
        *head_shape(model),
    } <= SHAPE_KEYS
