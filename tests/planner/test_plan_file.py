"""Plan files: what is written is what is read, from anywhere; what is wrong is said in one line."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwprofiles import InputError, write_yaml
from planner.search.make import Planned, make_plan
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting, load_plan, plan_to_data, save_plan
from sim.model.library import load_model, save_model
from sim.step.simulate import Run, simulate

SETTING = Setting(
    model="mixtral-8x7b", machine="desktop-rtx-4090-ddr5", prompt_tokens=8, output_tokens=3
)


def _plan(setting: Setting = SETTING) -> Plan:
    planned = make_plan(setting, Goal(), "0.0")
    assert isinstance(planned, Planned)
    return planned.plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    """One plan for all tests that only read it."""
    return _plan()


def test_round_trip(plan: Plan, tmp_path: Path) -> None:
    """A plan is read as it was written, to the last digit; writing it again gives the same bytes."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    save_plan(plan, first)
    assert load_plan(first) == plan
    save_plan(load_plan(first), second)
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.yaml", "b.yaml"]


def test_it_runs_again(plan: Plan, tmp_path: Path) -> None:
    """What is read runs to the same timeline."""
    save_plan(plan, tmp_path / "plan.yaml")
    read = load_plan(tmp_path / "plan.yaml")
    run = simulate(read.setting.scenario(read.policy))
    assert isinstance(run, Run)
    assert run.timeline.digest == plan.predicted["timeline_digest"]


def test_paths_are_seen_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan names the user's own files from its own folder: it is read from any other, and moves
    with them.
    """
    work, other = tmp_path / "work", tmp_path / "other"
    (work / "plans").mkdir(parents=True)
    other.mkdir()
    save_model(load_model("mixtral-8x7b"), work / "own.yaml")
    monkeypatch.chdir(work)
    save_plan(_plan(SETTING.model_copy(update={"model": "own.yaml"})), Path("plans/plan.yaml"))
    assert yaml.safe_load(Path("plans/plan.yaml").read_text())["setting"]["model"] == "../own.yaml"
    assert load_plan(Path("plans/plan.yaml")).setting.model == "own.yaml"
    monkeypatch.chdir(other)
    (tmp_path / "work").rename(tmp_path / "moved")
    assert load_model(load_plan(Path("../moved/plans/plan.yaml")).setting.model).num_layers == 32


def test_bounds_lie_below_the_plan(plan: Plan) -> None:
    """Nothing beats a proven bound: clairvoyant ≤ static ≤ predicted, and the gaps say by how much."""
    predicted, bounds = plan.predicted["end_to_end_s"], plan.bounds
    assert 0 < bounds["clairvoyant_bound_s"] <= bounds["static_bound_s"] <= predicted
    assert bounds["gap_to_static_bound_fraction"] == pytest.approx(
        predicted / bounds["static_bound_s"] - 1
    )
    assert bounds["gap_to_clairvoyant_bound_fraction"] == pytest.approx(
        predicted / bounds["clairvoyant_bound_s"] - 1
    )
    assert bounds["shadow_prices"]["end_to_end_s_per_gpu_memory_gb"] < 0


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        _inside(data, path[:-1]).pop(path[-1])

    return change


def _with(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        _inside(data, path[:-1])[path[-1]] = value

    return change


def _inside(data: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        data = data[key]
    return data


BROKEN = {
    "another format": (_with("rosin-plan/9", "format"), "format"),
    "no setting": (_without("setting"), "setting"),
    "unknown key": (_with(1, "polici"), "polici"),
    "unknown key of the setting": (_with(1, "setting", "prompt_token"), "setting.prompt_token"),
    "no prompt": (_with(0, "setting", "prompt_tokens"), "setting.prompt_tokens"),
    "tokens in words": (_with("many", "setting", "output_tokens"), "setting.output_tokens"),
    "unknown objective": (_with("thruput", "objective"), "did you mean 'throughput'?"),
    "policy not a mapping": (_with("fiddler", "policy"), "policy"),
    "no dispatch": (_without("policy", "dispatch"), "policy: key dispatch"),
    "unknown key of the policy": (_with(1, "policy", "dispach"), "did you mean 'dispatch'?"),
    "unknown part": (_with("balancd", "policy", "dispatch", "part"), "did you mean 'balanced'?"),
    "part without a name": (_with({}, "policy", "cache"), "policy.cache.part"),
    "part not a mapping": (_with("static", "policy", "cache"), "policy.cache"),
    "unknown parameter": (
        _with(1, "policy", "overlap", "staging_expert"),
        "did you mean 'staging_experts'?",
    ),
    "parameter of a wrong type": (
        _with("few", "policy", "overlap", "staging_experts"),
        "policy.overlap.staging_experts",
    ),
    "experts of a wrong type": (
        _with([["first"]], "policy", "placement", "experts"),
        "policy.placement.experts.0.0",
    ),
    "predicted not a mapping": (_with(3, "predicted"), "predicted"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_mistakes(mistake: str, plan: Plan, tmp_path: Path) -> None:
    """One line that names the file and the key."""
    change, fragment = BROKEN[mistake]
    data = copy.deepcopy(plan_to_data(plan))
    change(data)
    path = tmp_path / "plan.yaml"
    write_yaml(data, path)
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        load_plan(path)
    assert str(caught.value).startswith(str(path))
    assert fragment in str(caught.value)


@pytest.mark.parametrize("text", ["", "just words", "a: [1", "- 1\n- 2\n", "\x00"])
def test_no_plan_at_all(text: str, tmp_path: Path) -> None:
    """A file that is no plan is one line that names it."""
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        load_plan(path)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(InputError, match=r"^no plan file .*plan\.yaml$"):
        load_plan(tmp_path / "plan.yaml")
