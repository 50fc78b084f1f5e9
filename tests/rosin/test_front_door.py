"""The front door: what ``import rosin`` offers, with names, files and objects."""

import doctest
import importlib
import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest

import rosin
from hwprofiles import InputError, load_machine
from planner.search.plan import load_plan
from planner.search.setting import Setting
from rosin.api.setting import SettingValues
from rosin.cli.scenario import SETTING_KEYS, ScenarioOptions
from sim.model.library import load_model
from sim.policies import find_policy
from sim.routing import uniform
from tests.sim.golden_serving import TALKS
from tests.source_tree import ROOT

MACHINE, MODEL = "desktop-rtx-4090-ddr5", "mixtral-8x7b"
SHORT = {"prompt_tokens": 4, "output_tokens": 2}
MODULES = sorted(path.stem for path in (ROOT / "rosin" / "api").glob("[a-z]*.py"))
HEAVY = ("numpy", "pandas", "pydantic", "numba", "matplotlib", "typer", "torch")


def test_importing_loads_nothing_heavy() -> None:
    """A script that imports rosin pays for what it calls, not for what it might."""
    code = f"import sys, rosin; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_are_true(name: str) -> None:
    """The examples in the docstrings of the front door give what stands below them."""
    result = doctest.testmod(importlib.import_module(f"rosin.api.{name}"))
    assert result.failed == 0


def test_the_examples_of_the_page_are_true() -> None:
    """The examples of docs/how-to/python.md give what stands below them."""
    page = ROOT / "docs" / "how-to" / "python.md"
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted >= 8 and result.failed == 0


def test_every_number_of_a_setting_can_be_said() -> None:
    """From Python and at the prompt, what a setting holds has its own name; ``changes`` and
    ``--set`` become overrides, and what is offered follows from several values.
    """
    derived = {"machine_overrides", "offered_quantizations", "offered_cpu_threads"}
    held = set(Setting.model_fields) - derived
    said = {"model", "machine", *SettingValues.__annotations__}
    assert said == held | {"changes"}
    options = {SETTING_KEYS.get(field.name, field.name) for field in fields(ScenarioOptions)}
    assert options >= held - {"reserve_vram_bytes"} and "reserve_vram" in options


def test_objects_and_names_give_the_same_run() -> None:
    """A machine, a model, a policy and a routing may be objects."""
    named = rosin.simulate(MODEL, MACHINE, "fiddler", routing="uniform", **SHORT)
    given = rosin.simulate(
        load_model(MODEL), load_machine(MACHINE), find_policy("fiddler"), routing=uniform(), **SHORT
    )
    assert given.run.timeline.digest == named.run.timeline.digest


def test_changes_reach_the_machine() -> None:
    """A faster link makes fetching faster."""
    slow = rosin.simulate(MODEL, MACHINE, "on-demand", **SHORT)
    changes = {"link.h2d.bytes_per_s": 100e9}
    fast = rosin.simulate(MODEL, MACHINE, "on-demand", changes=changes, **SHORT)
    assert fast.metrics.end_to_end_s < slow.metrics.end_to_end_s


def test_results_can_be_read_drawn_and_kept(tmp_path: Path) -> None:
    """A result has a line, a table, a figure and files; an unknown ending is refused."""
    found = rosin.compare(MODEL, MACHINE, ["fiddler", "all-on-gpu"], **SHORT)
    assert repr(found).startswith("<Compared 2 policies, 1 fit; best is fiddler: ")
    assert list(found.to_frame()["policy"]) == ["fiddler", "all-on-gpu"]
    assert found.plot().axes
    assert json.loads(found.save(tmp_path / "a.json").read_text())["rows"][0]["policy"] == "fiddler"
    assert list(pd.read_csv(found.save(tmp_path / "a.csv"))["policy"]) == ["fiddler", "all-on-gpu"]
    assert found.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"must end in \.json, \.csv, \.png"):
        found.save(tmp_path / "a.doc")


def test_a_plan_of_objects_can_be_read_again(tmp_path: Path) -> None:
    """The machine that the caller gave lies beside the plan file, and the plan predicts the same."""
    machine = rosin.machine(MACHINE, {"gpu.memory_bytes": 30e9})
    plan = rosin.plan(MODEL, machine, draws=1, has_bounds=False, **SHORT)
    file = plan.save(tmp_path / "plan.yaml")
    loaded = load_plan(file)
    assert loaded.setting.loaded_machine() == machine
    again = rosin.simulate(MODEL, machine, file, **SHORT)
    assert again.run.timeline.digest == plan.plan.predicted["timeline_digest"]
    assert plan.to_frame()["is_plan"].sum() == 1 and plan.plot().axes
    assert plan.save(tmp_path / "plan.json").exists()


def test_a_study_goes_on_in_its_folder(tmp_path: Path) -> None:
    """A study has a line for each point, and plans no point twice."""
    vary = {"batch": [1, 2], "gpu.memory_bytes": [20e9, 30e9]}
    found = rosin.study(MODEL, MACHINE, vary, folder=tmp_path, draws=1, **SHORT)
    kept = (tmp_path / "study.sqlite").stat().st_size
    again = rosin.study(MODEL, MACHINE, vary, folder=tmp_path, draws=1, **SHORT)
    assert len(found.to_frame()) == 4 and found.to_frame().equals(again.to_frame())
    assert (tmp_path / "study.sqlite").stat().st_size == kept
    assert found.plot().axes and repr(found).startswith("<Studied 4 points over batch, gpu.mem")


def test_requests_are_served_from_an_object(tmp_path: Path) -> None:
    """Requests and the keys of a serving file may be objects; tiers show in the metrics."""
    serving = {"tiers": [{"name": "cpu", "capacity_bytes": "10GB"}]}
    found = rosin.serve("llama-3.1-8b", "h100", TALKS, serving=serving)
    assert found.metrics.num_requests == 24 and found.metrics.tiers[0].name == "cpu"
    assert found.to_frame()["num_requests"][0] == 24 and found.plot().axes
    assert found.save(tmp_path / "served.json").exists()


def test_what_does_not_fit_is_said() -> None:
    """NothingFits says what is short of memory."""
    with pytest.raises(rosin.NothingFits, match="no feasible plan"):
        rosin.simulate(MODEL, MACHINE, "all-on-gpu", **SHORT)


def test_an_unknown_argument_comes_with_the_nearest() -> None:
    """A misspelt argument is one line that names the right one."""
    with pytest.raises(InputError, match="did you mean 'prompt_tokens'"):
        rosin.simulate(MODEL, MACHINE, "fiddler", promt_tokens=4)  # type: ignore[call-arg]


def test_a_wrong_value_names_its_argument() -> None:
    """A value out of range is one line that names the argument."""
    with pytest.raises(InputError, match="batch_size"):
        rosin.simulate(MODEL, MACHINE, "fiddler", batch_size=0)


def test_a_plan_takes_no_routing_object() -> None:
    """A plan file could not name it."""
    with pytest.raises(InputError, match="routing: a plan names its routing"):
        rosin.plan(MODEL, MACHINE, routing=uniform(), **SHORT)


def test_policies_of_ones_own_are_compared() -> None:
    """A policy object stands beside named ones."""
    own = replace(find_policy("lru"), name="own")
    found = rosin.compare(MODEL, MACHINE, ["lru", own], **SHORT)
    first, second = found.result.rows
    assert {first.policy, second.policy} == {"lru", "own"}
    assert first.timeline_digest == second.timeline_digest
