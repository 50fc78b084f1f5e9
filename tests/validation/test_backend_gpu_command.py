"""`python -m validation.gpu` where there is no GPU: the same stages, on small models or paced."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")
pytest.importorskip("safetensors", reason="needs safetensors, from the extra `validate`")

from hwprofiles import load_machine, write_yaml
from tests.sim.small import small_machine
from validation.backend import Tier
from validation.gpu import CaseModel, case_models, main, run
from validation.missing_packages import NEEDED, missing_packages


def one_budget(tier: Tier, names: Sequence[str]) -> list[CaseModel]:
    """The models, each in its first budget alone."""
    return [
        replace(model, budgets_bytes=dict([next(iter(model.budgets_bytes.items()))]))
        for model in case_models(tier, names)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "name"), [("cpu", "deepseek-v2-lite"), ("paced", "mixtral-8x7b")]
)
def test_every_stage_writes_what_it_found(
    device: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine, a report of each case with the timelines of its plan, and the summary of all."""
    machine = tmp_path / "small.yaml"
    write_yaml(
        small_machine(1e9, overhead_ns=1000).model_dump(mode="json", exclude_none=True), machine
    )
    monkeypatch.setattr("validation.gpu.stages.MOST_ROUNDS", 1)
    monkeypatch.setattr("validation.gpu.stages.case_models", one_budget)
    arguments = [
        "-o",
        str(tmp_path / "out"),
        "--device",
        device,
        "--models",
        name,
        "--time-s",
        "40",
    ]
    main([*arguments, *(["--machine", str(machine)] if device == "cpu" else [])])
    folder = tmp_path / "out"
    assert load_machine(str(folder / "machine.yaml")).format == "rosin-machine/1"
    reports = [
        json.loads(path.read_text()) for path in folder.glob("*.json") if "trace" not in path.name
    ]
    assert reports and all(report["plans"][0]["name"].startswith("planned: ") for report in reports)
    assert all(report["plain"]["num_compared"] == len(report["plans"]) for report in reports)
    assert len(list(folder.glob("*.trace.json"))) == 2 * len(reports)
    summary = (folder / "summary.md").read_text()
    assert (
        name in summary
        and ("no GPU" in summary)
        and len((folder / "summary.csv").read_text().splitlines()) > len(reports)
    )


def test_time_that_is_up_leaves_cases_out(tmp_path: Path) -> None:
    """What is not run for want of time is none of the cases; what there is ends in time."""
    assert run(tmp_path, Tier.PACED, time_s=0.0) == []
    assert (tmp_path / "machine.yaml").exists()


def test_small_models_keep_their_structure() -> None:
    """Layers of experts, selections and latent attention stay; budgets grow with what they leave
    room for.
    """
    for name, experts, top_k in (
        ("mixtral-8x7b", 8, 2),
        ("qwen3-30b-a3b", 128, 8),
        ("deepseek-v2-lite", 64, 6),
    ):
        (found,) = case_models(Tier.CPU, (name,))
        assert (found.priced.num_experts, found.priced.top_k) == (experts, top_k)
        assert set(found.priced.dtypes.values()) == {"bf16"} and found.priced.total_bytes < 3e8
        assert sorted(found.budgets_bytes.values()) == [
            found.budgets_bytes[f"{share}% of the experts"] for share in (25, 50, 75)
        ]


def test_a_device_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and 2."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(SystemExit) as stopped:
        main(["-o", str(tmp_path), "--device", "cuda"])
    assert stopped.value.code == 2 and "torch finds no CUDA device" in capsys.readouterr().err


def test_nothing_else_is_needed() -> None:
    """The command imports no package that is not looked for; those it looks for are stated by the
    project.
    """
    assert missing_packages() == []
    code = "import sys, validation.gpu, sim.engine.compiler; from sim.engine import engine; engine('fast'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    others = {"matplotlib", "typer", "rich", "pandas", "simpy", "gguf"}
    assert others.isdisjoint(loaded) and {
        "numba",
        "numpy",
        "pydantic",
        "yaml",
        "safetensors",
        "scipy",
    } <= set(loaded)
    assert len(NEEDED) == 6
