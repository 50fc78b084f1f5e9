"""A plan file runs no code, unless the command names the module that it may import."""

import sys
from pathlib import Path

import pytest
import yaml

from hwprofiles import InputError
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting, load_plan, plan_to_data
from rosin.__main__ import main
from sim.policies import find_policy
from sim.policies.cache.lru import LruCache
from sim.policies.serialize import ImportNotAllowed

MODULE = "from pathlib import Path\nPath('ran').touch()\nfrom sim.policies.cache.lru import LruCache as Part\n"
COMMANDS = [
    ("simulate", "--plan", "plan.yaml"),
    ("compare", "--plan", "plan.yaml"),
    ("plan", "--plan", "plan.yaml"),
    ("whatif", "--plan", "plan.yaml", "--vary", "batch=1,2", "-o", "study"),
    ("validate", "plan.yaml"),
    ("calibrate", "plan.yaml", "--machine", "h100", "-o", "machine.yaml"),
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a module, and a plan whose cache is a part of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "plan_part", raising=False)
    Path("plan_part.py").write_text(MODULE, encoding="utf-8")
    plan = Plan(
        setting=Setting(
            model="granite-3-1b-a400m",
            machine="desktop-rtx-3060-ddr4",
            prompt_tokens=4,
            output_tokens=2,
        ),
        goal=Goal(),
        policy=find_policy("lru"),
        predicted={},
        bounds={},
        binding_resource="gpu",
        provenance={},
        version="0",
    )
    data = plan_to_data(plan)
    data["policy"]["cache"] = {"part": "plan_part:Part"}
    Path("plan.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")


def test_a_file_imports_nothing() -> None:
    """The module is named, and has not run."""
    with pytest.raises(
        ImportNotAllowed,
        match=r"plan\.yaml: policy\.cache\.part: 'plan_part:Part' is code of the module plan_part",
    ):
        load_plan(Path("plan.yaml"))
    with pytest.raises(ImportNotAllowed):
        load_plan(Path("plan.yaml"), importable=["another", "plan_part2", "plan"])
    assert not Path("ran").exists()


def test_a_module_that_is_named() -> None:
    """The part is of the module's class."""
    assert type(load_plan(Path("plan.yaml"), importable=["plan_part"]).policy.cache) is LruCache
    assert Path("ran").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_commands_run_no_code_of_a_file(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that reads a plan refuses it in one line that says what would allow it."""
    assert main(list(command)) == 2
    error = capsys.readouterr().err
    assert "if you trust it, add --allow-import plan_part" in error
    assert error.count("\n") == 1
    assert not Path("ran").exists()


def test_other_modules_stay_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Allowing one module allows no other."""
    assert main(["simulate", "--plan", "plan.yaml", "--allow-import", "json"]) == 2
    assert "plan_part" in capsys.readouterr().err
    assert not Path("ran").exists()


@pytest.mark.parametrize("part", ["os:system", "os.path:join", ":X", "evil:", "a:b:c"])
def test_no_spelling_gets_through(part: str) -> None:
    """Whatever has a colon is code, and code is refused."""
    data = yaml.safe_load(Path("plan.yaml").read_text(encoding="utf-8"))
    data["policy"]["cache"] = {"part": part}
    Path("plan.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(InputError, match="may not import"):
        load_plan(Path("plan.yaml"))
