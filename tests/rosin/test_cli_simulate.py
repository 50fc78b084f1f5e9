"""`rosin simulate`: its JSON and its page agree with the simulation, and say all that is needed to
repeat it.
"""

import dataclasses
import json
import os
import shlex
from pathlib import Path

import pytest

from hwprofiles import load_machine
from planner.search.make import make_plan
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting, save_plan
from rosin.__main__ import main
from rosin.cli.failures import ExitCode
from rosin.report.json_documents import SimulateResult
from sim.model.library import load_model
from sim.policies import POLICIES, find_policy
from sim.policies.serialize import policy_from_data, policy_to_data
from sim.routing import load_routing
from sim.step.metrics import Metrics
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.rosin.command_line import checked_result
from tests.rosin.scenarios import SMALL, json_of, text_of
from tests.tiny_config import write_tiny_config

RUNNABLE = sorted(POLICIES.keys() - {"all-on-gpu"})
CONTRACT_METRICS = {
    "ttft_s", "tpot_s", "end_to_end_s", "output_tokens_per_s", "expert_hit_rate", "num_resident_experts", "h2d_bytes", "d2h_bytes",
    "cpu_expert_calls", "gpu_expert_calls", "prefetched_bytes", "wasted_prefetch_bytes", "utilization",
}  # fmt: skip


@pytest.mark.parametrize("policy", RUNNABLE)
def test_json_is_as_documented(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every key of the schema is there and none besides, with the metrics that the contract names."""
    data = json_of(capsys, "simulate", *SMALL, "--policy", policy)
    checked_result(SimulateResult, data)
    assert (
        data["metrics"].keys()
        == {field.name for field in dataclasses.fields(Metrics)}
        >= CONTRACT_METRICS
    )
    assert (
        policy_to_data(policy_from_data(data["scenario"]["policy"], "json"))
        == data["scenario"]["policy"]
    )
    assert data["seed"] == 0


def test_figures_are_those_of_the_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    """The command adds nothing to what the library answers."""
    data = json_of(capsys, "simulate", *SMALL, "--policy", "fiddler", "--seed", "3")
    model = load_model("mixtral-8x7b")
    run = simulate(
        Scenario(
            machine=load_machine("desktop-rtx-4090-ddr5"),
            model=model,
            batch=Batch(prompt_tokens=24, output_tokens=4),
            policy=find_policy("fiddler"),
            routing=load_routing(None, model),
            seed=3,
        )
    )
    assert isinstance(run, Run)
    assert data["timeline_digest"] == run.timeline.digest
    assert data["metrics"] == dataclasses.asdict(run.metrics)


@pytest.mark.parametrize("policy", ["ktransformers", "mixtral-offloading", "llama.cpp"])
def test_parts_add_up(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Kinds of work sum to the busy time of their resource, no resource is alone for longer than
    busy, memory items sum to the peak.
    """
    data = json_of(capsys, "simulate", *SMALL, "--policy", policy)
    for time in data["time"]:
        assert sum(time["kinds_s"].values()) == pytest.approx(time["busy_s"])
        assert time["busy_fraction"] == pytest.approx(
            data["metrics"]["utilization"][time["resource"]]
        )
        assert time["alone_fraction"] <= time["busy_fraction"] + 1e-9
    assert (
        sum(item["bytes"] for item in data["memory"]["items"])
        == data["memory"]["peak_bytes"]
        == data["metrics"]["peak_gpu_memory_bytes"]
    )
    assert sum(data["basis"]["num_numbers"].values()) == len(data["basis"]["numbers"])


@pytest.mark.parametrize("policy", ["ktransformers", "mixtral-offloading", "fiddler-v1"])
def test_engines_agree(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The reference engine gives the timeline of the fast one, to the nanosecond."""
    fast, reference = (
        json_of(capsys, "simulate", *SMALL, "--policy", policy, "--engine", name)
        for name in ("fast", "reference")
    )
    assert fast["timeline_digest"] == reference["timeline_digest"]
    assert fast["metrics"] == reference["metrics"]


def test_the_command_in_the_json_repeats_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Running what ``scenario.command`` says gives the same JSON, names with spaces and all."""
    config = tmp_path / "a model" / "config.json"
    write_tiny_config(config)
    options = [
        "--batch",
        "2",
        "--beams",
        "3",
        "--routing",
        "uniform",
        "--quantization",
        "8bit",
        "--expert-slots-per-layer",
        "1",
        "--seed",
        "5",
    ]
    settings = ["--set", "link.h2d.bytes_per_s=5e9", "--set", "believed_cost=code"]
    arguments = [
        "--model",
        str(config),
        "--machine",
        "h100",
        "--prompt-tokens",
        "9",
        "--output-tokens",
        "3",
        *options,
        *settings,
    ]
    first = json_of(capsys, "simulate", *arguments, "--policy", "fiddler")
    program, *words = shlex.split(first["scenario"]["command"])
    assert program == "rosin"
    assert json_of(capsys, *words) == first
    assert first["scenario"]["setting"]["machine_overrides"] == ["link.h2d.bytes_per_s=5e9"]
    assert first["scenario"]["policy"]["dispatch"]["believed_cost"] == "code"
    assert first["metrics"]["num_resident_experts"] == 2


def test_a_slower_link_is_slower(capsys: pytest.CaptureFixture[str]) -> None:
    """--set reaches the machine: halving the link's rate costs a policy that copies every miss
    nearly twice the time.
    """
    base = json_of(
        capsys, "simulate", *SMALL, "--policy", "on-demand", "--set", "link.h2d.bytes_per_s=20e9"
    )
    slow = json_of(
        capsys, "simulate", *SMALL, "--policy", "on-demand", "--set", "link.h2d.bytes_per_s=10e9"
    )
    assert 1.8 < slow["metrics"]["end_to_end_s"] / base["metrics"]["end_to_end_s"] <= 2.0
    assert slow["provenance"]["kind"] == "assumed"


@pytest.mark.parametrize("policy", RUNNABLE)
def test_page_fits_a_terminal(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At most 48 lines of 80 columns, which name what was simulated."""
    text = text_of(capsys, "simulate", *SMALL, "--policy", policy)
    assert text.count("\n") <= 48
    for name in (
        policy,
        "mixtral-8x7b",
        "desktop-rtx-4090-ddr5",
        "simulated, not measured",
        "tokens/s",
        "Rests on",
    ):
        assert name in text


def test_one_output_token_has_no_further_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Without decode steps the page shows no time per further token."""
    text = text_of(capsys, "simulate", *SMALL, "--output-tokens", "1", "--policy", "fiddler")
    assert "none" in next(line for line in text.splitlines() if "TPOT" in line)


def test_warnings_go_to_stderr_and_into_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A machine of several GPUs, of which one is used, is worth a warning in both."""
    arguments = ["simulate", *SMALL, "--policy", "on-demand", "--set", "gpu.count=2"]
    assert main(arguments) == 0
    assert "warning: the machine has 2 GPUs" in capsys.readouterr().err
    assert any("2 GPUs" in warning for warning in json_of(capsys, *arguments)["warnings"])


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """A plan file for the small scenario, and the plan in it."""
    path = tmp_path_factory.mktemp("plans") / "plan.yaml"
    setting = Setting(
        model="mixtral-8x7b", machine="desktop-rtx-4090-ddr5", prompt_tokens=24, output_tokens=4
    )
    planned = make_plan(setting, Goal(), "0")
    save_plan(planned.plan, path)  # type: ignore[union-attr]  # it fits
    return path, planned.plan  # type: ignore[union-attr]


def test_a_plan_is_simulated_as_predicted(
    plan: tuple[Path, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    """With --plan alone the run is the plan's own, to the digest."""
    path, stated = plan
    data = json_of(capsys, "simulate", "--plan", str(path))
    assert data["timeline_digest"] == stated.predicted["timeline_digest"]
    assert data["scenario"]["policy"]["name"] == stated.policy.name


def test_options_stand_above_the_plan(
    plan: tuple[Path, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    """What an option says replaces what the plan says, the policy too; the rest stays."""
    words = ["--output-tokens", "2", "--seed", "4", "--set", "gpu.memory_bytes=30e9"]
    data = json_of(capsys, "simulate", "--plan", str(plan[0]), "--policy", "ktransformers", *words)
    setting = data["scenario"]["setting"]
    assert (setting["prompt_tokens"], setting["output_tokens"], setting["seed"]) == (24, 2, 4)
    assert setting["machine_overrides"] == ["gpu.memory_bytes=30e9"]
    assert (data["scenario"]["policy"]["name"], data["seed"]) == ("ktransformers", 4)


def test_trace_has_every_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--trace writes what trace viewers read: a slice a task, as long in all as the resources were
    busy.
    """
    target = tmp_path / "trace.json"
    data = json_of(capsys, "simulate", *SMALL, "--policy", "fiddler", "--trace", str(target))
    events = json.loads(target.read_text(encoding="utf-8"))["traceEvents"]
    [steps] = [
        event["tid"]
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "steps"
    ]
    slices = [event for event in events if event["ph"] == "X" and event["tid"] != steps]
    assert sum(event["dur"] for event in slices) / 1e6 == pytest.approx(
        sum(data["metrics"]["busy_s"].values())
    )
    assert max(event["ts"] + event["dur"] for event in slices) / 1e6 == pytest.approx(
        data["metrics"]["end_to_end_s"]
    )
    assert os.listdir(tmp_path) == ["trace.json"]


MISTAKES = [
    (["--model", "mixtral-8x7c"], ["'mixtral-8x7c'", "did you mean 'mixtral-8x7b'?"]),
    (["--machine", "h10"], ["did you mean 'h100'?"]),
    (["--policy", "fidler"], ["did you mean 'fiddler'?"]),
    (["--engine", "fst"], ["did you mean 'fast'?"]),
    (["--prompt-tokens", "-3"], ["--prompt-tokens must be at least 1, got -3"]),
    (["--output-tokens", "0"], ["--output-tokens must be at least 1, got 0"]),
    (["--beams", "0"], ["--beams must be at least 1"]),
    (["--batch", "many"], ["'--batch'"]),
    (["--batch", "1000000000000"], ["--batch must be at most 1,000,000"]),
    (["--prompt-tokens", "40000"], ["32768"]),
    (["--expert-slots-per-layer", "9"], ["8 experts", "got 9"]),
    (["--routing", "missing.npz"], ["missing.npz"]),
    (["--quantization", "5bits"], ["5bits"]),
    (["--set", "lnk.h2d.bytes_per_s=5e9"], ["did you mean 'link.h2d.bytes_per_s'?"]),
    (["--set", "beleived_cost=code"], ["did you mean 'believed_cost'?"]),
    (["--set", "believed_cost=coed"], ["believed_cost=coed", "'code'"]),
    (["--set", "zzz=1"], ["zzz", "policy fiddler", "believed_cost"]),
    (["--set", "link"], ["key=value"]),
    (["--set", "link.h2d.bytes_per_s=fast"], ["fast"]),
    (["--model", "cut.gguf"], ["cut.gguf"]),
    (["--machine", "broken.yaml"], ["broken.yaml:2"]),
    (["--plan", "broken.yaml"], ["broken.yaml:2"]),
    (["--trace", "no/such/folder/trace.json"], ["no/such/folder/trace.json"]),
    (["--trace", "."], [".: a trace's name must end in"]),
    (["--trace", "missing/x.json"], ["cannot write missing/x.json"]),
    (["--plan", "missing.yaml"], ["no plan file missing.yaml"]),
]


@pytest.mark.parametrize(
    ("arguments", "fragments"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES]
)
def test_mistakes(
    arguments: list[str],
    fragments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mistake is one line and exit code 2, and no file is left behind."""
    monkeypatch.chdir(tmp_path)
    Path("cut.gguf").write_bytes(b"GGUF\x03\0\0\0\x01")
    Path("broken.yaml").write_text("a: [b\n", encoding="utf-8")
    before = sorted(os.listdir())
    assert (
        main(["simulate", *SMALL, "--policy", "fiddler", *arguments, "--json", "out.json"])
        == ExitCode.WRONG_INPUT
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for fragment in fragments:
        assert fragment in captured.err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("option", ["--model", "--machine", "--policy"])
def test_what_must_be_said(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a plan, model, machine and policy must be named."""
    words = [*SMALL, "--policy", "fiddler"]
    place = words.index(option)
    assert main(["simulate", *words[:place], *words[place + 2 :]]) == ExitCode.WRONG_INPUT
    assert f"missing option '{option}'" in capsys.readouterr().err


def test_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No feasible plan is exit code 3 and one line that says why and by how much; no file is left."""
    target = tmp_path / "out.json"
    assert (
        main(["simulate", *SMALL, "--policy", "all-on-gpu", "--json", str(target)])
        == ExitCode.INFEASIBLE
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: no feasible plan: ")
    assert captured.err.endswith(" GB too much\n")
    assert captured.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("is_terminal", "words"),
    [(True, ()), (False, ()), (True, ("--quiet",)), (True, ("--json", "-"))],
)
def test_people_at_a_terminal_are_told_why_they_wait(
    is_terminal: bool,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first run of a computer compiles; that is said on stderr to a person, and to nobody else."""
    monkeypatch.setattr("sim.step.execute.needs_compilation", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    assert main(["simulate", *SMALL, "--policy", "fiddler", *words]) == 0
    assert ("compiling" in capsys.readouterr().err) == (is_terminal and not words)


def test_means_over_draws(capsys: pytest.CaptureFixture[str]) -> None:
    """With --draws the metrics are means over runs with other seeds, the timeline is still the
    first's, and the page says so.
    """
    words = ("simulate", *SMALL, "--policy", "ktransformers", "--routing", "uniform")
    one, many = json_of(capsys, *words), json_of(capsys, *words, "--draws", "5")
    assert many["timeline_digest"] == one["timeline_digest"]
    assert many["metrics"]["end_to_end_s"] != one["metrics"]["end_to_end_s"]
    assert many["metrics"]["end_to_end_s"] == pytest.approx(one["metrics"]["end_to_end_s"], rel=0.2)
    assert many["scenario"]["setting"]["draws"] == 5
    assert "means over 5 draws of the routing" in text_of(capsys, *words, "--draws", "5")
