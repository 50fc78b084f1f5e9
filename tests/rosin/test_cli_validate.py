"""`rosin validate`: a plan file in, measured beside predicted out."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from hwprofiles import write_yaml
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting, save_plan
from rosin.__main__ import main
from sim.policies import POLICIES
from tests.sim.small import small_machine
from tests.tiny_config import TINY_CONFIG

HAS_TORCH = find_spec("torch") is not None and find_spec("safetensors") is not None


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """A plan for a tiny Mixtral on a small machine."""
    write_yaml(
        small_machine(1e7).model_dump(mode="json", exclude_none=True), tmp_path / "machine.yaml"
    )
    (tmp_path / "config.json").write_text(json.dumps(dict(TINY_CONFIG)), encoding="utf-8")
    assert (
        main(
            [
                "models",
                "import",
                str(tmp_path / "config.json"),
                "-o",
                str(tmp_path / "model.yaml"),
                "--quiet",
            ]
        )
        == 0
    )
    setting = Setting(
        model=str(tmp_path / "model.yaml"),
        machine=str(tmp_path / "machine.yaml"),
        prompt_tokens=6,
        output_tokens=3,
        routing="uniform",
        expert_slots_per_layer=2,
    )
    plan = Plan(
        setting=setting,
        goal=Goal(),
        policy=POLICIES["on-demand"],
        predicted={},
        bounds={},
        binding_resource="gpu",
        provenance={},
        version="0",
    )
    save_plan(plan, tmp_path / "plan.yaml")
    return tmp_path / "plan.yaml"


@pytest.mark.skipif(not HAS_TORCH, reason="needs torch and safetensors, from the extra `validate`")
def test_plan_is_run_and_compared(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON names the tier, has all errors, and the folder has both timelines of one run."""
    folder = plan_file.parent / "out"
    assert (
        main(["validate", str(plan_file), "--rounds", "2", "-o", str(folder), "--json", "-"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "paced" and "slept out" in found["tier"]
    assert found["plans"][0]["name"] == "on-demand" and found["regret_fraction"] >= 0
    assert set(found["error_fraction"]) == {"paired", "absolute", "plain"}
    assert "mixtral-offloading" in found["left_out"]
    assert json.loads((folder / "validate.json").read_text())["plans"] == found["plans"]
    assert (folder / "validate.png").read_bytes().startswith(b"\x89PNG")
    traces = [
        json.loads((folder / f"{name}.trace.json").read_text())["traceEvents"]
        for name in ("predicted", "measured")
    ]
    predicted, measured = (
        [event["name"] for event in events if event["ph"] == "X"] for events in traces
    )
    assert sorted(predicted) == sorted(measured)


@pytest.mark.skipif(not HAS_TORCH, reason="needs torch and safetensors, from the extra `validate`")
def test_a_checkpoint_is_run(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of transformers in place of the stand-in; those of another model are refused in one
    line.
    """
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers, from the extra `hf`"
    )
    for name, change in (("own", {}), ("other", {"num_hidden_layers": 1})):
        config = transformers.MixtralConfig(**{**TINY_CONFIG, **change})
        transformers.MixtralForCausalLM(config).save_pretrained(plan_file.parent / name)
    assert (
        main(
            [
                "validate",
                str(plan_file),
                "--quick",
                "--weights",
                str(plan_file.parent / "own"),
                "--json",
                "-",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["measured"]["end_to_end_s"] > 0
    assert main(["validate", str(plan_file), "--weights", str(plan_file.parent / "other")]) == 2
    assert "other layers or experts" in capsys.readouterr().err


@pytest.mark.skipif(HAS_TORCH, reason="torch is installed here")
def test_without_torch_it_says_so(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names what to install."""
    assert main(["validate", str(plan_file)]) == 2
    assert "pip install 'rosin[validate]'" in capsys.readouterr().err


def test_misspelt_devices_are_refused(plan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, with the closest name."""
    assert main(["validate", str(plan_file), "--device", "pacd"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'paced'" in error and error.count("\n") == 1


@pytest.mark.skipif(not HAS_TORCH, reason="needs torch and safetensors, from the extra `validate`")
def test_real_operations_need_a_machine_of_this_computer(
    plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a machine that was not measured here, --device cpu says what would be one; on one that
    was, the plan runs for real.
    """
    assert main(["validate", str(plan_file), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert (
        "only a machine that rosin measure wrote with --device cpu is one" in error
        and error.count("\n") == 1
    )
    machine = plan_file.parent / "machine.yaml"
    machine.write_text(
        machine.read_text().replace("for tests", "Emulated accelerator, for tests"),
        encoding="utf-8",
    )
    assert main(["validate", str(plan_file), "--quick", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "cpu" and "emulated accelerator" in found["tier"]
