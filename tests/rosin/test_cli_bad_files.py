"""Bad files of every kind, given to every command that reads such a file: one short line, exit code
2.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import TempPathFactory

from rosin.__main__ import main
from tests.bad_files import JSON_KINDS, YAML_KINDS, npz_bomb, npz_trace
from tests.rosin.command_line import assert_one_line_error, run_rosin

MODEL = ("--model", "granite-3-1b-a400m")
SMALL = (*MODEL, "--machine", "desktop-rtx-3060-ddr4")
SERVED = ("simulate", *SMALL, "--workload", "lmbenchmark-long-in-short-out", "--requests", "2")

YAML_READERS: Mapping[str, tuple[str, ...]] = {
    "machine": ("machines", "FILE"),
    "model": ("models", "FILE"),
    "tiers": ("export", "FILE", "--to", "vllm"),
    "plan": ("simulate", "--plan", "FILE"),
    "requests": ("kv-replay", "FILE", "--bytes-per-token", "1000"),
    "serving": (*SERVED, "--serving", "FILE"),
    "LMCache": ("kv-plan", *SERVED[1:], "--against", "FILE"),
    "routing": ("routing", "stats", "FILE", *MODEL),
    "prices": ("whatif", *SMALL, "--vary", "batch=1,2", "--prices", "FILE", "-o", "study"),
}
JSON_READERS: Mapping[str, tuple[str, ...]] = {
    "configuration": ("models", "import", "FILE.json", "-o", "out.yaml"),
    "popularity": ("routing", "stats", "popularity:FILE.json", *MODEL),
    "requests": ("kv-replay", "FILE.jsonl", "--bytes-per-token", "1000"),
    "routing": ("routing", "import", "FILE.jsonl", "-o", "out.npz"),
}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command refuses a file."""
    assert main(list(arguments)) == 2, capsys.readouterr().err
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) <= 300
    return captured.err


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("reader", YAML_READERS)
@pytest.mark.parametrize("kind", YAML_KINDS)
def test_bad_yaml(kind: str, reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the file."""
    Path("bad.yaml").write_text(YAML_KINDS[kind](), encoding="utf-8")
    arguments = [word.replace("FILE", "bad.yaml") for word in YAML_READERS[reader]]
    assert "bad.yaml" in refused(capsys, *arguments)


@pytest.mark.parametrize("reader", JSON_READERS)
@pytest.mark.parametrize("kind", JSON_KINDS)
def test_bad_json(kind: str, reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the file, and nothing is written."""
    arguments = [word.replace("FILE", "bad") for word in JSON_READERS[reader]]
    name = next(word.removeprefix("popularity:") for word in arguments if ".json" in word)
    Path(name).write_text(JSON_KINDS[kind](), encoding="utf-8")
    assert name in refused(capsys, *arguments)
    assert os.listdir() == [name]


@pytest.mark.parametrize("reader", YAML_READERS)
def test_pipe_is_not_waited_for(reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe that nobody writes to is refused at once."""
    os.mkfifo("pipe.yaml")
    arguments = [word.replace("FILE", "pipe.yaml") for word in YAML_READERS[reader]]
    assert "pipe.yaml: it is neither file nor folder" in refused(capsys, *arguments)


@pytest.mark.parametrize("words", [("stats",), ("import", "-o", "out.npz")])
@pytest.mark.parametrize("suffix", ["npz", "csv", "jsonl", "json"])
def test_routing_pipe_is_not_waited_for(
    suffix: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a trace is kept in."""
    name = f"pipe.{suffix}"
    os.mkfifo(name)
    assert name in refused(capsys, "routing", words[0], name, *words[1:])


REQUESTS = "format: rosin-requests/1\nname: a\nsource: b\ndate: 2026-01-01\n"
ROUNDS = (
    "system_tokens: 1, history_tokens: 1, question_tokens: 1, answer_tokens: 1, requests_per_s: 1"
)
HUGE = [
    (
        "r.yaml",
        f"{REQUESTS}num_requests: {10**20}\nlengths: {{prompt_tokens: 1, output_tokens: 1}}",
        "num_requests",
    ),
    (
        "r.yaml",
        f"{REQUESTS}num_requests: 1\nlengths: {{prompt_tokens: {10**17}, output_tokens: 1}}",
        "prompt_tokens",
    ),
    (
        "r.yaml",
        f"{REQUESTS}num_requests: 1\nmulti_round: {{num_users: {10**18}, num_rounds: 2, {ROUNDS}}}",
        "num_users",
    ),
    (
        "r.yaml",
        f"{REQUESTS}num_requests: 1\nmulti_round: {{num_users: 2, num_rounds: {10**18}, {ROUNDS}}}",
        "num_rounds",
    ),
    ("t.jsonl", f'{{"prompt_tokens": {10**17}, "output_tokens": 1}}', "prompt_tokens"),
    ("t.jsonl", '{"prompt_tokens": 5, "output_tokens": 1, "arrival_s": 1e300}', "arrival_s"),
    (
        "t.jsonl",
        f'{{"timestamp": {10**30}, "input_length": 5, "output_length": 1, "hash_ids": [1]}}',
        "timestamp",
    ),
    ("t.csv", f"prompt_tokens,output_tokens\n{'9' * 5000},1", "prompt_tokens"),
    ("t.csv", f'prompt_tokens,output_tokens\n"{"9" * 200_000}",1', "field larger"),
    ("t.csv", "prompt_tokens,output_tokens,prompt_tokens\n1,1,1", "two columns"),
    ("t.csv", "prompt_tokens,output_tokens\n1\x1f,1", "prompt_tokens"),
]


@pytest.mark.parametrize(("name", "text", "key"), HUGE)
def test_counts_beyond_all_measure(
    name: str, text: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the key; nothing of that size is made."""
    Path(name).write_text(text, encoding="utf-8")
    line = refused(capsys, "kv-replay", name, "--bytes-per-token", "1000")
    assert name in line
    assert key in line


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"0,{10**9},0,0", "layer must be at least 0 and below 10,000"),
        (f"0,0,{10**9},0", "rank must be at least 0 and below 1,000"),
        (f"0,0,0,{10**9}", "expert must be at least 0 and below 32,768"),
        ("0,9999,999,0", "layer 0, rank 0 is there 0 times"),
        (f"{'9' * 400},0,0,0", "token must be at least 0"),
        ("0,0,0", "4 columns are due"),
    ],
)
def test_routing_rows_beyond_all_measure(
    row: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A layer number alone makes no table: memory is for the rows that are there."""
    Path("t.csv").write_text(f"token,layer,rank,expert\n{row}\n", encoding="utf-8")
    assert said in refused(capsys, "routing", "import", "t.csv", "-o", "t.npz")


def test_a_kind_of_line_that_is_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    """A routing log whose ``type`` is a list has no line that says something of the file."""
    Path("t.jsonl").write_text('{"type": ["meta"], "top_k": 2}', encoding="utf-8")
    assert "t.jsonl" in refused(capsys, "routing", "import", "t.jsonl", "-o", "t.npz")


def test_gate_weights_of_another_shape(capsys: pytest.CaptureFixture[str]) -> None:
    """As many numbers in another arrangement are no weights of these experts."""
    lines = [
        '{"expert_ids": [[1, 2]], "gate_weights": [[0.5, 0.5]]}',
        '{"expert_ids": [[1, 2]], "gate_weights": [[0.5], [0.5]]}',
    ]
    Path("t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert "t.jsonl:2: gate_weights are of shape" in refused(
        capsys, "routing", "import", "t.jsonl", "-o", "t.npz"
    )


def test_small_archive_of_a_large_array(capsys: pytest.CaptureFixture[str]) -> None:
    """The array's head is read before the array."""
    npz_bomb(Path("bomb.npz"))
    assert Path("bomb.npz").stat().st_size < 2**20
    assert "bomb.npz: expert_ids of shape" in refused(capsys, "routing", "stats", "bomb.npz")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"num_experts": 10**18}, "num_experts must be one whole number from 1 to 32,768"),
        ({"num_experts": [4, 4]}, "num_experts must be one whole number"),
        (
            {"sequence_num_tokens": [2**62, 2**62, 2**62, 2**62 + 2]},
            "sequence_num_tokens must be positive integers that sum to the 2",
        ),
        ({"gate_weights": [[[0.5, 0.5]]]}, "gate_weights must be numbers of the shape"),
    ],
)
def test_arrays_that_do_not_fit(
    others: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stands beside the ids is looked at as closely."""
    npz_trace(Path("t.npz"), **others)
    assert said in refused(capsys, "routing", "stats", "t.npz")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--batch", str(10**18), "--batch must be at most 1,000,000"),
        ("--prompt-tokens", str(10**18), "--prompt-tokens must be at most 16,777,216"),
        ("--output-tokens", str(10**30), "--output-tokens must be at most 16,777,216"),
        ("--draws", str(10**9), "--draws: must be at most 100000"),
        ("--gpus", str(10**9), "--gpus: must be at most 100000"),
        ("--seed", str(2**70), "--seed: must be"),
        ("--expert-slots-per-layer", str(10**9), "--expert-slots-per-layer: must be"),
        ("--reserve-vram", "1e30", "--reserve-vram must be from 0 to 1e+18, got 1e30"),
        (
            "--set",
            "gpu.memory_bytes=1e300",
            "gpu.memory_bytes.value: must be at most",
        ),
        (
            "--set",
            "gpu.memory_bytes_per_s=1e-30",
            "gpu.memory_bytes_per_s: a rate must be at least 0.001",
        ),
    ],
)
def test_options_beyond_all_measure(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a file may not say, an option may not say either."""
    assert said in refused(capsys, "simulate", *SMALL, "--policy", "lru", option, value)


def test_fit_that_no_file_could_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """A routing file that could not be read again is refused before anything is fitted."""
    npz_trace(Path("t.npz"), num_experts=2**15)
    assert "fit fewer classes" in refused(
        capsys, "routing", "fit", "t.npz", "-o", "out.yaml", "--classes", "256"
    )
    assert not Path("out.yaml").exists()


NAMES = st.text(max_size=300).filter(lambda name: name not in ("", ".", "..") and "/" not in name)
"""Line ends, NULs, what moves a cursor, and more letters than a name may have."""


@given(
    name=NAMES | st.text("\n\r\x1b\x00\udcff'\"%{}*~$", min_size=1, max_size=9),
    is_there=st.booleans(),
)
@settings(max_examples=50)
def test_files_of_any_name(name: str, is_there: bool, tmp_path_factory: TempPathFactory) -> None:
    """Whether there is a file of that name or not, and whether there can be one: one short line."""
    folder = tmp_path_factory.mktemp("names", numbered=True)
    if is_there:
        with suppress(OSError, ValueError):
            (folder / f"{name}.yaml").write_text("a: [", encoding="utf-8")
    result = run_rosin("machines", f"./{name}.yaml", folder=folder)
    assert_one_line_error(result)
    assert len(result.err) <= 300
    assert result.err.rstrip("\n").isprintable()
