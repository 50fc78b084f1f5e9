"""A real llama.cpp runs small random files: times, placement, a plan, its history."""

import itertools
import json
from pathlib import Path

import pytest

from hwprofiles.units import MIB
from rosin.__main__ import main
from sim.runtimes.llama_cpp.arguments import read_llama_arguments
from tests.validation.llama_cpp.small_files import TINY, needs_wheel, plan_file
from validation.runtimes.llama_cpp import WeightFormats, wheel, write_random_gguf
from validation.runtimes.llama_cpp.bench import bench_arguments
from validation.runtimes.llama_cpp.load_log import read_load_log
from validation.runtimes.llama_cpp.settings import RunSettings
from validation.runtimes.llama_cpp.tensor_placement import expected_bytes, placed_bytes
from validation.runtimes.llama_cpp.wheel import WheelSession

LOG = """
load_tensors:   CPU_REPACK model buffer size =   100.25 MiB
load_tensors:          CPU model buffer size =    20.00 MiB
load_tensors: RPC0[127.0.0.1:50052] model buffer size =  300.50 MiB
llama_kv_cache:        CPU KV buffer size =     8.00 MiB
tensor blk.0.ffn_up_exps.weight (4 MiB q8_0) buffer type overridden to CPU
sched_reserve: graph: nodes = 889, splits = 3, input objects = 4
"""


def test_the_log_says_where_weights_are() -> None:
    """Buffers in host memory add up; devices stand apart; overridden tensors and nodes are read."""
    log = read_load_log(LOG)
    sizes = log.weight_bytes(("RPC0[127.0.0.1:50052]",))
    assert [size / MIB for size in sizes] == [120.25, 300.5]
    assert log.overridden == {"blk.0.ffn_up_exps.weight": "CPU"}
    assert log.num_nodes == 889


def test_overrides_are_written_for_the_devices_of_the_run(tmp_path: Path) -> None:
    """-ncmoe becomes patterns, and llama-bench gets them separated by semicolons."""
    settings = RunSettings(
        model_file=tmp_path / "a.gguf",
        arguments=read_llama_arguments("-ngl 99 -ncmoe 2 -ub 256 -t 3 -nr"),
        devices=("RPC0[127.0.0.1:1]",),
    )
    overrides = settings.overrides(4, (0, 1, 2, 3))
    assert len(overrides) == 2
    assert all(one.endswith("=CPU") for one in overrides)
    words = bench_arguments(settings, overrides, ("127.0.0.1:1",))
    assert ";".join(overrides) in words
    assert ("-ub", "256") in itertools.pairwise(words)
    assert words[words.index("--repack") + 1] == "0"


def test_own_evaluation_counts_every_byte(tmp_path: Path) -> None:
    """What is on the host and on devices is all that the file holds, wherever it is put."""
    path = write_random_gguf(TINY, WeightFormats(experts="q8_0"), tmp_path / "a.gguf")
    whole, _ = expected_bytes(path, read_llama_arguments("-ngl 0"), ())
    for line in ("-ngl 99", "-ngl 1", "-ngl 99 -cmoe", "-ngl 99 -ot ffn_up=CPU"):
        split, _ = expected_bytes(path, read_llama_arguments(line), (1e9, 1e9))
        assert sum(split) == pytest.approx(sum(whole))
    _, moved = expected_bytes(path, read_llama_arguments("-ngl 99 -ncmoe 1"), (1e9,))
    assert moved == 3


@needs_wheel
@pytest.mark.parametrize("name", ["q8_0", "q4_k", "bf16"])
def test_llama_cpp_runs_a_random_file(name: str, tmp_path: Path) -> None:
    """It loads, decodes and prefills, takes time, and holds the bytes that we evaluate."""
    path = write_random_gguf(TINY, WeightFormats(experts=name), tmp_path / "a.gguf")
    arguments = read_llama_arguments("-t 1 -ngl 0")
    session = WheelSession(RunSettings(model_file=path, arguments=arguments), TINY.vocab)
    try:
        prompt = session.prefill(16)
        answer = session.decode(4)
        log = session.log
    finally:
        session.close()
    assert prompt.cpu_s > 0
    assert answer.tokens == 4
    assert placed_bytes(path, arguments, {}, log).matches
    assert log.num_nodes


LATE_LOG = """
import sys
import time

sys.stdin.readline()
print('{"ready": true}', flush=True)
for line in sys.argv[0], "load_tensors: CPU model buffer size = 2.00 MiB", "graph: nodes = 7":
    time.sleep(0.05)
    print(line, file=sys.stderr, flush=True)
sys.stdin.readline()
"""


def test_a_log_that_is_written_late_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp's own thread writes the log, behind the tokens that it tells of."""
    (tmp_path / "late.py").write_text(LATE_LOG, encoding="utf-8")
    monkeypatch.setattr(wheel, "WORKER", tmp_path / "late.py")
    monkeypatch.setattr(wheel, "wheel_version", lambda: "late 1")
    arguments = read_llama_arguments("-t 1 -ngl 0")
    session = WheelSession(RunSettings(model_file=tmp_path / "a.gguf", arguments=arguments), 512)
    try:
        log = session.log
    finally:
        session.close()
    assert log.weight_bytes(()) == [2 * MIB]
    assert log.num_nodes == 7


@needs_wheel
def test_a_plan_is_run_and_remembered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has both speeds, rivals, regret and placement, and rosin accuracy reads the
    history.
    """
    plan, out = plan_file(tmp_path), tmp_path / "out"
    path = write_random_gguf(TINY, WeightFormats(experts="q8_0"), tmp_path / "a.gguf")
    words = ["validate", str(plan), "--runtime", "llama.cpp", "--model-file", str(path)]
    assert main([*words, "--rounds", "2", "-o", str(out), "--json", str(tmp_path / "v.json")]) == 0
    found = json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))
    assert set(found["predicted"]) == {"decode_tokens_per_s", "prefill_tokens_per_s"}
    assert set(found["measured"]) == set(found["predicted"])
    assert found["rivals"] and found["placement_matches"] is True
    assert found["regret_fraction"] >= 0
    assert "on the CPU" in found["warnings"][0]
    rows = tmp_path / "accuracy.json"
    assert main(["accuracy", str(out / "history.csv"), "--json", str(rows)]) == 0
    read = json.loads(rows.read_text(encoding="utf-8"))["rows"]
    assert len(read) == 1 + len(found["rivals"])
    assert all(row["reason"] is None for row in read), [row["reason"] for row in read]


@needs_wheel
def test_a_file_that_llama_cpp_refuses_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says so, and the exit code is 2."""
    path = write_random_gguf(TINY, WeightFormats(experts="q8_0"), tmp_path / "a.gguf")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    plan = plan_file(tmp_path)
    words = ["validate", str(plan), "--runtime", "llama.cpp", "--model-file", str(path)]
    assert main([*words, "--quick"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--runtime", "vllm"], "no runtime that can be run named 'vllm'"),
        (["--runtime", "llama.cpp", "--binary", "/nowhere"], "--binary /nowhere: no llama-bench"),
        (["--binary", "/nowhere"], "--binary needs --runtime"),
        (["--runtime", "llama.cpp", "--model-file", "no.gguf"], "--model-file no.gguf: no such"),
    ],
)
def test_wrong_options_are_errors(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is one line that names the option."""
    assert main(["validate", str(plan_file(tmp_path)), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_plan_without_arguments_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan of a policy names no arguments of llama.cpp; they can be typed."""
    path = plan_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(text.splitlines()[:2]), encoding="utf-8")
    assert main(["validate", str(path), "--runtime", "llama.cpp"]) == 2
    assert "--runtime-args" in capsys.readouterr().err
