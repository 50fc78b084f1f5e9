"""`rosin models`: the list, one model, and importing one."""

import json
from pathlib import Path

import pytest

from hwprofiles.units import format_bytes
from rosin.__main__ import main
from rosin.commands.models.document import model_summary
from rosin.commands.models.page import format_params
from sim.model.library import load_model, model_names
from tests.tiny_config import write_tiny_config

EXPERT_PARAMS = 3 * 64 * 128
"""Of the tiny configuration."""


def test_list_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Each name stands whole at the start of a line, every figure with its unit, and no line is longer
    than 80 columns.
    """
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line for line in lines if line}
    for name in model_names():
        model = load_model(name)
        ends = f"{format_params(model.active_params)} {format_bytes(model.total_bytes)} "
        assert f"{ends}{model.quantization}" in " ".join(rows[name].split())


def test_a_missing_file_is_no_list_of_models(capsys: pytest.CaptureFixture[str]) -> None:
    """Only a name that is near is offered."""
    assert main(["models", "nothere.json"]) == 2
    assert capsys.readouterr().err == "error: no model file nothere.json\n"
    assert main(["models", "qwen3-30b-a3.yaml"]) == 2
    assert "did you mean 'qwen3-30b-a3b'" in capsys.readouterr().err


@pytest.mark.parametrize("name", model_names())
def test_tensor_classes_add_up(name: str) -> None:
    """The weights and bytes of the tensor classes sum to those of the model."""
    summary = model_summary(load_model(name))
    assert sum(part.params for part in summary.tensors.values()) == summary.total_params
    assert sum(part.bytes for part in summary.tensors.values()) == summary.total_bytes


def test_show_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """`rosin models NAME` is `rosin models show NAME`, options on either side."""
    outputs = []
    for arguments in (
        ["mixtral-8x7b", "--quantization", "8bit"],
        ["show", "mixtral-8x7b", "--quantization", "8bit"],
    ):
        assert main(["models", *arguments]) == 0
        outputs.append(capsys.readouterr().out)
    assert main(["models", "--quantization", "8bit", "mixtral-8x7b"]) == 0
    outputs.append(capsys.readouterr().out)
    assert len(set(outputs)) == 1
    assert "8bit" in outputs[0]


def test_import_writes_a_model_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration becomes a model file whose counts are those worked out by hand."""
    write_tiny_config(tmp_path / "config.json")
    target = tmp_path / "tiny.yaml"
    assert (
        main(["models", "import", str(tmp_path / "config.json"), "-o", str(target), "--json", "-"])
        == 0
    )
    shown = json.loads(capsys.readouterr().out)
    attention = 64 * 64 * 2 + 2 * 64 * 32
    assert shown["model"]["tensors"]["expert"]["params"] == 2 * 4 * EXPERT_PARAMS
    assert shown["model"]["tensors"]["attention"]["params"] == 2 * attention
    assert shown["model"]["expert_bytes"] == 2 * EXPERT_PARAMS
    model = load_model(str(target))
    assert model.active_params == model.total_params - 2 * 2 * EXPERT_PARAMS
    assert shown["path"] == str(target)


def test_import_accepts_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Hugging Face folder gives the file that its config.json gives."""
    write_tiny_config(tmp_path / "config.json")
    for source, target in ((tmp_path, "a.yaml"), (tmp_path / "config.json", "b.yaml")):
        assert main(["models", "import", str(source), "-o", str(tmp_path / target), "--quiet"]) == 0
    assert (
        load_model(str(tmp_path / "a.yaml")).layers == load_model(str(tmp_path / "b.yaml")).layers
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (46_702_792_704, "46.7 B"),
        (3_299_000_000, "3.30 B"),
        (1_026_000_000_000, "1.03 T"),
        (999_600_000_000, "1.00 T"),
        (266_240, "0.266 M"),
    ],
)
def test_counts_of_weights(count: int, text: str) -> None:
    """Three digits, and the unit changes where they would read 1000."""
    assert format_params(count) == text
