"""`rosin plan --runtime` and `rosin export`: from a PC in one line to a command to paste."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rosin.__main__ import main
from sim.model.library import load_model
from sim.runtimes import read_runtime_arguments
from tests.rosin.command_line import assert_one_line_error, run_rosin
from tests.rosin.scenarios import json_of
from tests.sim.runtimes.test_gguf_tensors import write_qwen_header
from tests.source_tree import ROOT

PC = "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"
QUESTION = ("--model", "qwen3-30b-a3b", "--quantization", "4bit", "--machine", PC)
ASKED = ("plan", *QUESTION, "--prompt-tokens", "600", "--room-tokens", "32768")
LLAMA = (*ASKED, "--runtime", "llama.cpp")


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """A plan file for llama.cpp."""
    path = tmp_path / "plan.yaml"
    assert main([*LLAMA, "-o", str(path), "--quiet"]) == 0
    return str(path)


def test_json_is_as_in_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """The runtime, the command as a list of arguments, and the loss, unknown unless asked for."""
    data = json_of(capsys, *LLAMA)
    assert data["runtime"] == "llama.cpp"
    assert all(isinstance(word, str) for word in data["command"])
    assert data["gain_lost_fraction"] is None
    assert data["predicted"]["decode"]["low_tokens_per_s"] > 0
    assert data["plan"]["runtime"]["name"] == "llama.cpp"
    read = read_runtime_arguments("llama.cpp", shlex.join(data["command"]))
    assert read.context_tokens == 32768


def test_page_ends_in_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the terminal's width, the last line can be pasted."""
    assert main([*LLAMA, "--against", "-ngl 99 -ncmoe 40"]) == 0
    text = capsys.readouterr().out
    *page, last = text.rstrip("\n").splitlines()
    assert max(map(len, page)) <= 80
    assert last.startswith("llama-server -m qwen3-30b-a3b.gguf -ngl 49 ")
    for words in ("what you run", "--fit, its own choice", "-ncmoe and -ub, best", "-ngl, best N"):
        assert words in text


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ("RTX 5090 + Ryzen 9 9950X + 2x32GB DDR5-6000", "plan: everything on the GPU"),
        ("2xRTX 4090 + Ryzen 9 9950X + 2x32GB DDR5-6000", "plan: everything on the GPUs"),
        ("Ryzen 9 9950X + 2x32GB DDR5-6000", "plan: everything on the CPU"),
        (PC, "plan: all layers but their experts on the GPU; "),
    ],
)
def test_the_page_says_what_is_where(
    machine: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all fits, nobody has to read shares of experts."""
    assert main([*LLAMA, "--machine", machine, "--room-tokens", "4096"]) == 0
    assert words in capsys.readouterr().out


def test_the_figure_has_every_way_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The picture names the plan, its rivals and the user's own arguments; it is the same twice."""
    figure = tmp_path / "plan.svg"
    words = (*LLAMA, "--against", "-ngl 99 -cmoe", "--figure", str(figure))
    data = json_of(capsys, *words)
    first = figure.read_bytes()
    shown = [row["name"] for row in (*data["rivals"], data["against"]) if not row["reason"]]
    assert len(shown) > 3
    # Beside the outlines of each text stands a comment of it, where "--" may not be.
    text = first.decode("utf-8")
    for name in ("this plan", *shown):
        assert f"<!-- {name.replace('--', '- -')} -->" in text
    assert main([*words, "--quiet"]) == 0
    assert figure.read_bytes() == first


def test_a_device_map_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is read in the program's own form: a map with every layer in host memory is far off."""
    path = tmp_path / "device_map.json"
    devices = {"model.embed_tokens": 0, "model.norm": 0, "lm_head": 0}
    path.write_text(json.dumps(devices | {f"model.layers.{index}": "cpu" for index in range(48)}))
    figure = ("--figure", str(tmp_path / "plan.svg"))
    data = json_of(capsys, *ASKED, "--runtime", "accelerate", "--against", str(path), *figure)
    assert data["against"]["speed_fraction"] < 0.7
    assert data["predicted"]["decode"]["coverage_fraction"] is None


def test_a_command_in_a_file_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that a plan ends in, saved, is the plan itself: as it is, or as scripts have it."""
    said = json_of(capsys, *LLAMA)
    path = tmp_path / "run.sh"
    command = said["command_line"]
    broken = command.replace("llama-server", "./build/bin/llama-server").replace(" -c", " \\\n -c")
    for script in (command, f"#!/bin/sh\n# my model\n{broken}", command.partition(" ")[2]):
        path.write_text(script + "\n")
        data = json_of(capsys, *LLAMA, "--against", str(path))
        assert data["against"]["speed_fraction"] == pytest.approx(1.0)


def test_a_plan_for_a_program_is_no_plan_of_a_policy(plan: str, tmp_path: Path) -> None:
    """It is named as what it is where a policy's plan is taken."""
    for command in ("plan", "compare"):
        result = run_rosin(command, "--plan", plan, folder=tmp_path)
        assert_one_line_error(result, "is a plan for a program, not of a policy")


def test_warnings_stand_before_the_command(tmp_path: Path) -> None:
    """On one screen nothing stands between the words and what is to be pasted."""
    words = (sys.executable, "-m", "rosin", *LLAMA)
    run = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, cwd=tmp_path
    )
    assert "warning: " in run.stdout
    assert "warning: " not in run.stdout.partition("paste this:")[2]


def test_other_models_keep_their_room(capsys: pytest.CaptureFixture[str]) -> None:
    """Their weights stay free on the GPU beside the margin, so that fewer experts fit."""
    alone = json_of(capsys, *LLAMA)
    beside = json_of(capsys, *LLAMA, "--also-loaded", "olmoe-1b-7b")
    lost = alone["room_bytes"]["gpu0"] - beside["room_bytes"]["gpu0"]
    assert lost == load_model("olmoe-1b-7b").total_bytes
    assert beside["memory_bytes"]["gpu0"]["weights"] < alone["memory_bytes"]["gpu0"]["weights"]


@pytest.mark.parametrize(
    "runtime",
    ["llama.cpp", "ik_llama.cpp", "ktransformers", "vllm", "accelerate", "exllamav3"],
)
def test_a_plan_file_is_read_again(
    runtime: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Simulated from its file, the plan has the speeds that it was predicted with."""
    path = str(tmp_path / "plan.yaml")
    planned = json_of(capsys, *ASKED, "--runtime", runtime, "-o", path)
    again = json_of(capsys, "simulate", "--plan", path)
    for phase in ("decode", "prefill"):
        assert again["runtime_prediction"][phase] == planned["predicted"][phase]
    assert again["memory_bytes"] == planned["memory_bytes"]


@pytest.mark.parametrize("form", ["args", "env", "bench", "preset"])
def test_forms_of_a_plan(form: str, plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each form is a text of its own, the same in JSON."""
    assert main(["export", plan, "--to", "llama.cpp", "--form", form]) == 0
    text = capsys.readouterr().out
    assert "qwen3-30b-a3b.gguf" in text
    assert json_of(capsys, "export", plan, "--to", "llama.cpp", "--form", form)["text"] == text


def test_a_plan_for_another_runtime_is_planned_anew(plan: str, tmp_path: Path) -> None:
    """The loss is said where the plan was made for another program."""
    result = run_rosin("export", plan, "--to", "ik_llama.cpp", folder=tmp_path)
    assert result.out.startswith("llama-server -m ")
    assert "this is the best that ik_llama.cpp can express" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*LLAMA, "--batch", "4"), "--batch does not go with --runtime"),
        ((*LLAMA, "--cpu-threads", "4,8"), "--cpu-threads does not go with --runtime"),
        ((*LLAMA, "--quantization", "Q4_K_M,Q8_0"), "one is taken with --runtime"),
        ((*LLAMA, "--kv-type", "q9_0"), "no kv type named 'q9_0'"),
        ((*LLAMA, "--vram-margin", "much"), "--vram-margin much"),
        ((*LLAMA, "--no-bounds"), "--no-bounds does not go with --runtime"),
        ((*LLAMA, "--against", "-ngl x"), "argument -ngl x"),
        ((*ASKED, "--runtime", "lama.cpp"), "did you mean 'llama.cpp'"),
        (("plan", *QUESTION, "--against", "-ngl 9"), "--against needs --runtime"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Each mistake is one line that says what would be right."""
    assert_one_line_error(run_rosin(*words, folder=tmp_path), message)


def test_mistakes_of_export(plan: str, tmp_path: Path) -> None:
    """Forms that a program does not have, and files that are no plan."""
    wrong_form = run_rosin(
        "export", plan, "--to", "ktransformers", "--form", "env", folder=tmp_path
    )
    assert_one_line_error(wrong_form, "no form of ktransformers named 'env'")
    mask = ("export", plan, "--to", "ktransformers", "--form", "mask")
    assert_one_line_error(run_rosin(*mask, folder=tmp_path), "say where with -o plan.pt")
    no_policy = run_rosin(*mask, "-o", "plan.pt", folder=tmp_path)
    assert_one_line_error(no_policy, "takes a plan of a policy")
    tiers = tmp_path / "kv.yaml"
    tiers.write_text(
        "format: rosin-kv/1\nname: chat\nhost_bytes_per_rank: 1GiB\n", encoding="utf-8"
    )
    no_plan = run_rosin("export", str(tiers), "--to", "llama.cpp", folder=tmp_path)
    assert_one_line_error(no_plan, "is no plan")


def test_nothing_fits_exits_with_3(tmp_path: Path) -> None:
    """A model larger than all memory: exit code 3 and the missing bytes."""
    words = ("plan", "--model", "deepseek-v3", "--machine", PC, "--runtime", "llama.cpp")
    result = run_rosin(*words, folder=tmp_path)
    assert result.exit_code == 3
    assert "more than GPUs and host have free" in result.err


def test_a_plan_compiles_nothing(tmp_path: Path) -> None:
    """From a cold start, no simulator is imported: a plan for a runtime is there at once."""
    code = (
        "import sys; from rosin.__main__ import main; "
        f"status = main({[*LLAMA, '--json', 'plan.json', '--quiet']!r}); "
        "heavy = {'numba', 'torch', 'scipy', 'simpy'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["command"]


def test_every_key_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/reference/json.md explains the keys of the document, and of its rivals."""
    page = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
    section = page.split("\n## plan --runtime\n")[1].split("\n## ")[0]
    data = json_of(capsys, *LLAMA)
    for key in {*data, *data["rivals"][0]} - {"warnings", "seed", "version"}:
        assert f"`{key}`" in section, key


def test_from_the_header_of_a_file_to_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A GGUF header and a PC in one line are enough; the command names that file."""
    path = write_qwen_header(tmp_path / "qwen.gguf")
    words = ("--model", str(path), "--machine", PC, "--prompt-tokens", "4000")
    data = json_of(capsys, "plan", "--runtime", "llama.cpp", *words)
    assert data["command"][:2] == ["-m", str(path)]
    assert data["predicted"]["prefill"]["tokens_per_s"] > 0


@pytest.mark.parametrize(
    ("more", "ending"),
    [
        ((), "a file in Q4_K_M fits: --quantization Q4_K_M"),
        (("--quantization", "Q8_0"), "reads the rest from it"),
        (("--runtime", "ktransformers"), "GPUs and host have free"),
    ],
)
def test_what_does_not_fit_names_the_first_smaller_file_that_does(
    more: tuple[str, ...], ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no format was asked for, and the program reads the files that are named."""
    small = "RTX 3060 12GB + i5-12400 + 4x16GB DDR4-3200"
    asked = ("plan", "--runtime", "llama.cpp", "--model", "glm-4.5-air", "--machine", small, *more)
    assert main(list(asked)) != 0
    assert capsys.readouterr().err.strip().endswith(ending)
