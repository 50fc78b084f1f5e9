"""`rosin routing`: import, fit and stats."""

import json
from pathlib import Path

import numpy as np
import pytest

from rosin.__main__ import main
from sim.model.library import load_model
from sim.routing import RecordedRouting, save_trace, uniform
from tests.rosin.command_line import assert_one_line_error, run_rosin


def _write_trace(path: Path) -> None:
    """600 tokens of a tiny router: 3 layers, 2 of 8 experts, gate weights descending."""
    generator = np.random.default_rng(1)
    ids = np.argsort(generator.gumbel(size=(600, 3, 8)) - np.arange(8) / 4, axis=2)[
        :, :, :2
    ].astype(np.int16)
    weights = np.sort(generator.uniform(0.1, 0.5, ids.shape).astype(np.float32), axis=2)[:, :, ::-1]
    save_trace(
        RecordedRouting(
            name="t",
            expert_ids=ids,
            num_experts=8,
            weights=weights,
            sequence_num_tokens=np.full(6, 100),
        ),
        path,
    )


def test_fit_then_stats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A fit says its task, its statistics come near the trace's, and both can be shown side by side
    with a figure.
    """
    _write_trace(tmp_path / "t.npz")
    spec = tmp_path / "t.yaml"
    assert (
        main(
            [
                "routing",
                "fit",
                str(tmp_path / "t.npz"),
                "-o",
                str(spec),
                "--task",
                "dice",
                "--json",
                "-",
            ]
        )
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert (result["task"], result["provenance"]["kind"]) == ("dice", "fitted")
    assert "fitted to task 'dice' alone" in result["provenance"]["source"]
    wanted, found = (np.mean(result[key]["reuse_by_layer"]["1"]) for key in ("trace", "generator"))
    assert found == pytest.approx(wanted, abs=0.04)
    assert (
        main(
            [
                "routing",
                "stats",
                str(tmp_path / "t.npz"),
                str(spec),
                "--figure",
                str(tmp_path / "f.svg"),
            ]
        )
        == 0
    )
    assert "LRU hits, 2 slots" in capsys.readouterr().out
    assert (tmp_path / "f.svg").stat().st_size > 1000


def test_import_writes_what_stats_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CSV becomes a trace file; the number of experts may be stated."""
    (tmp_path / "t.csv").write_text("token,layer,rank,expert\n0,0,0,1\n1,0,0,2\n", encoding="utf-8")
    assert (
        main(
            [
                "routing",
                "import",
                str(tmp_path / "t.csv"),
                "-o",
                str(tmp_path / "t.npz"),
                "--experts",
                "4",
                "--quiet",
            ]
        )
        == 0
    )
    assert main(["routing", "stats", str(tmp_path / "t.npz"), "--json", "-"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["statistics"].values()
    assert (found["num_tokens"], found["busiest_ratio_by_layer"]) == (2, [2.0])


def test_import_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Skipped lines are warnings; a trace of another model's shape is refused, with both shapes,
    and nothing is written.
    """
    rows = [
        {"type": "meta", "top_k": 2},
        {"prompt_routed_experts": [[[1, 2]], [[0, 3]]], "choices": []},
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    words = ["routing", "import", str(tmp_path / "r.jsonl"), "-o", str(tmp_path / "t.npz")]
    assert main([*words, "--model", "mixtral-8x7b"]) == 2
    assert "trace of 1 MoE layers, top-2" in capsys.readouterr().err
    assert not (tmp_path / "t.npz").exists()
    assert main([*words, "--json", "-"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "1 line holds no expert ids: skipped" in warning


def test_uniform_statistics_are_those_of_chance(capsys: pytest.CaptureFixture[str]) -> None:
    """Independent uniform draws use an expert again as often as it is selected at all."""
    model = load_model("mixtral-8x7b")
    assert main(["routing", "stats", "uniform", "--model", "mixtral-8x7b", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)["statistics"]["uniform"]
    for by_layer in found["reuse_by_layer"].values():
        assert np.mean(by_layer) == pytest.approx(model.top_k / model.num_experts, abs=0.01)
    assert uniform().prediction_accuracy(3, 1) is None


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["stats", "uniform"], ["--model"]),
        (["stats", "none.npz"], ["no routing trace none.npz"]),
        (["import", "none.csv", "-o", "t.npz"], ["cannot read routing trace none.csv"]),
        (["import", "none.csv", "-o", "t.csv"], ["a trace file is .npz"]),
        (["fits"], ["did you mean 'fit'"]),
    ],
    ids=str,
)
def test_mistakes_are_one_line(arguments: list[str], fragments: list[str], tmp_path: Path) -> None:
    """What is wrong, in one line, exit code 2."""
    assert_one_line_error(run_rosin("routing", *arguments, folder=tmp_path), *fragments)
