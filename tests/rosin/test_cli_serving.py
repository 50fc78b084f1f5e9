"""`rosin simulate --workload`: requests over time."""

from pathlib import Path

import pytest

from rosin.__main__ import main
from rosin.commands.simulate.serving_document import KvPlanResult, ServeResult
from tests.rosin.command_line import checked_result
from tests.rosin.scenarios import json_of, text_of
from tests.shared_data import shared_data

REQUESTS = """format: rosin-requests/1
name: small
source: made up for tests
date: "2026"
num_requests: 40
multi_round:
  num_users: 5
  num_rounds: 4
  system_tokens: 300
  history_tokens: 2000
  question_tokens: 20
  answer_tokens: 30
  requests_per_s: 2.0
"""
SERVED = (
    "simulate",
    "--model",
    "qwen3-30b-a3b",
    "--machine",
    "h100",
    "--workload",
    "requests.yaml",
)


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a request file."""
    monkeypatch.chdir(tmp_path)
    Path("requests.yaml").write_text(REQUESTS, encoding="utf-8")
    return tmp_path


def _error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*SERVED, *arguments]) == 2
    return capsys.readouterr().err


def test_json_has_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """The document validates, and its figures hang together."""
    document = checked_result(ServeResult, json_of(capsys, *SERVED, "--kv-tier", "cpu=10GB"))
    metrics = document.metrics
    assert metrics.num_requests == 40
    assert metrics.ttft_s.p50 <= metrics.ttft_s.p90 <= metrics.ttft_s.p99
    assert set(metrics.kv_hit_rate) == {"gpu", "cpu"} or set(metrics.kv_hit_rate) == {"gpu"}
    assert document.scenario.serving["tiers"][0]["capacity_bytes"] == 10e9


def test_the_command_repeats_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What the JSON names as its command gives the same figures."""
    first = json_of(
        capsys,
        *SERVED,
        "--requests",
        "12",
        "--kv-tier",
        "cpu=10GB",
        "--set",
        "instance.max_sequences=4",
    )
    again = json_of(capsys, *first["scenario"]["command"].split()[1:])
    assert first == again


def test_concurrency_takes_the_place_of_arrivals(capsys: pytest.CaptureFixture[str]) -> None:
    """``--concurrency`` serves as a file with a closed loop does, and stands in the command that
    repeats the run.
    """
    lengths = "num_requests: 6\nlengths: {prompt_tokens: 500, output_tokens: 20}\n"
    head = REQUESTS.split("num_requests")[0]
    Path("even.yaml").write_text(
        head + lengths + "arrivals: {process: even, requests_per_s: 0.1}\n", encoding="utf-8"
    )
    Path("closed.yaml").write_text(
        head + lengths + "arrivals: {process: closed, in_flight: 2}\n", encoding="utf-8"
    )
    start = ("simulate", "--model", "llama-3.1-8b", "--machine", "h100", "--workload")
    asked = json_of(capsys, *start, "even.yaml", "--concurrency", "2")
    stated = json_of(capsys, *start, "closed.yaml")
    assert asked["metrics"] == stated["metrics"]
    assert "--concurrency 2" in asked["scenario"]["command"]


def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    """The page says what was served, how long it took, and where KV was found."""
    text = text_of(capsys, *SERVED, "--kv-tier", "cpu=10GB")
    for words in (
        "40 requests of requests.yaml",
        "time to first token (TTFT)",
        "found in GPU memory",
        "Tier",
        "KV blocks",
    ):
        assert words in text


def test_a_serving_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Prefill and decode apart, with tiers of stated rates; sizes on the command line take the
    place of the file's.
    """
    Path("serving.yaml").write_text(
        """format: rosin-serving/1
instance: {num_gpus: 2, max_sequences: 32, all_reduce: {bytes_per_s: 150e9, latency_ns: 10e3, source: a test}}
disaggregation:
  num_prefill: 1
  num_decode: 2
  link: {bytes_per_s: 50e9, latency_ns: 15e3}
  buffer_bytes: 2GB
tiers:
  - {name: cpu, capacity_bytes: 1GB}
  - {name: disk, read: {bytes_per_s: 5e9}, write: {bytes_per_s: 2e9}, policy: lfu}
offload: {loading: cheaper, prefetches: true}
""",
        encoding="utf-8",
    )
    many = (
        "simulate",
        "--model",
        "qwen3-30b-a3b",
        "--machine",
        "h100-x8",
        "--workload",
        "requests.yaml",
    )
    result = json_of(capsys, *many, "--serving", "serving.yaml", "--kv-tier", "cpu=8GB")
    assert result["scenario"]["serving"]["num_instances"] == 3
    assert [tier["capacity_bytes"] for tier in result["metrics"]["tiers"]] == [8 * 10**9, None]
    assert not any("all-reduces" in warning for warning in result["warnings"])


@pytest.mark.slow
def test_experts_of_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """With a policy, a model larger than the GPU is served: slower, and said to rest on a table of
    steps.
    """
    small = (
        "simulate",
        "--model",
        "mixtral-8x7b",
        "--machine",
        "desktop-rtx-4090-ddr5",
        "--workload",
        "requests.yaml",
    )
    settings = (
        "--set",
        "instance.kv_tokens=20000",
        "--set",
        "instance.max_step_tokens=512",
        "--requests",
        "4",
    )
    result = json_of(capsys, *small, "--policy", "ktransformers", *settings)
    assert result["metrics"]["num_requests"] == 4 and any(
        "interpolated" in warning for warning in result["warnings"]
    )
    plain = json_of(
        capsys,
        *small,
        "--policy",
        "fiddler",
        "--requests",
        "2",
        "--set",
        "instance.max_step_tokens=512",
    )
    assert any("tokens of KV beside experts" in warning for warning in plain["warnings"])
    assert main([*small, *settings]) == 3
    assert "leaves no room for 20,000 tokens of KV" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "2"), "--batch does not go with --workload"),
        (("--draws", "2"), "means over draws already"),
        (("--reserve-vram", "2GiB"), "instance.gpu_memory_fraction"),
        (("--engine", "reference"), "serving has one engine"),
        (("--trace", "x.json"), "--trace writes one batch"),
        (("--kv-tier", "cpu"), "write NAME=SIZE"),
        (("--concurrency", "2"), "multi_round has its own timing"),
        (("--kv-tier", "disk=1TB"), "the first must be named cpu"),
        (("--kv-tier", "cpu=1GB", "--kv-tier", "disk=1TB"), "states no rates for it"),
        (("--kv-tier", "cpu=lots"), "tiers.0.capacity_bytes"),
        (("--set", "instance.max_sequence=3"), "did you mean 'max_sequences'"),
        (("--set", "offload.mode=server"), "offload needs the key tiers"),
        (("--routing", "uniform"), "--routing needs --policy"),
        (("--set", "budget=3"), "--set budget needs --policy"),
        (("--serving", "none.yaml"), "cannot read serving file none.yaml"),
        (("--policy", "lru"), "it holds other experts from step to step"),
        (("--policy", "fiddler", "--set", "instance.num_gpus=2"), "at most the 1 GPUs"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    """Each names the option or key, and what would be right."""
    error = _error(capsys, *arguments)
    assert message in error and error.count("\n") == 1


def test_options_of_serving_need_a_workload(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --workload they would do nothing, so they are refused."""
    assert (
        main(
            [
                "simulate",
                "--model",
                "mixtral-8x7b",
                "--machine",
                "h100",
                "--policy",
                "fiddler",
                "--requests",
                "3",
            ]
        )
        == 2
    )
    assert "--requests needs --workload" in capsys.readouterr().err


@pytest.mark.slow
def test_the_conversation_trace_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    """The first 3,000 requests of Mooncake's conversation trace on one instance of eight GPUs."""
    trace = shared_data("requests/mooncake-conversation.jsonl")
    result = json_of(
        capsys,
        "simulate",
        "--model",
        "llama-3.1-8b",
        "--machine",
        "h100-x8",
        "--workload",
        str(trace),
        "--requests",
        "3000",
    )
    assert result["metrics"]["num_requests"] + result["metrics"]["num_rejected_requests"] == 3_000


def test_kv_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """The plan says whether tiers are worth it, and writes a serving file whose run is the plan's."""
    words = ("--model", "qwen3-30b-a3b", "--machine", "h100", "--workload", "requests.yaml")
    document = json_of(capsys, "kv-plan", *words, "--kv-tier", "cpu=20GB", "-o", "best.yaml")
    checked_result(KvPlanResult, document)
    assert document["verdict"].startswith(("Use ", "Leave offloading off"))
    again = json_of(capsys, "simulate", *words, "--serving", "best.yaml")
    assert again["metrics"] == document["best"]["metrics"]
    assert (
        main(
            [
                "kv-plan",
                *words,
                "--kv-tier",
                "cpu=20GB",
                "--kv-file",
                "kv.yaml",
                "--set",
                "instance.kv_tokens=6000",
                "--objective",
                "ttft",
            ]
        )
        == 0
    )
    assert "Its tiers are in kv.yaml" in capsys.readouterr().out
    assert main(["export", "kv.yaml", "--to", "lmcache"]) == 0
    assert "max_local_cpu_size" in capsys.readouterr().out
    assert "Best for latency" in text_of(capsys, "kv-plan", *words, "--requests", "10")


def test_kv_plan_for_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    """One GPU of eight is enough for an easy target; an impossible one ends with exit code 3 and
    the nearest value, in one line.
    """
    words = (
        "kv-plan",
        "--model",
        "llama-3.1-8b",
        "--machine",
        "h100-x8",
        "--workload",
        "requests.yaml",
        "--requests",
        "10",
    )
    document = json_of(capsys, *words, "--max-ttft", "50", "--max-itl", "5")
    checked_result(KvPlanResult, document)
    assert (
        document["best"]["num_gpus"] == 1
        and document["best"]["meets_target"]
        and document["max_itl_s"] == 5
    )
    text = text_of(capsys, *words, "--max-ttft", "50")
    assert "fewest GPUs that meet it: 1\n" in text and "p90 TTFT" in text
    assert main([*words, "--max-ttft", "1e-9", "--max-itl", "5"]) == 3
    error = capsys.readouterr().err
    assert (
        "(--max-ttft 1e-09 s)" in error
        and "a p90 ITL of" in error
        and error.splitlines()[-1].startswith("error: ")
    )


def test_kv_plan_writes_a_disk_tier(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the disk is worth it, rosin export takes the file with it; a place that is not said is
    refused before the search.
    """
    words = [
        "kv-plan",
        "--model",
        "qwen3-30b-a3b",
        "--machine",
        "h100",
        "--workload",
        "requests.yaml",
        "--objective",
        "ttft",
    ]
    words += ["--serving", "disk.yaml", "--kv-file", "kv.yaml"]
    Path("disk.yaml").write_text(
        """format: rosin-serving/1
instance: {kv_tokens: 6000}
tiers:
  - {name: cpu, capacity_bytes: 150MB}
  - {name: disk, capacity_bytes: 100GB, read: {bytes_per_s: 50e9}, write: {bytes_per_s: 50e9}}
""",
        encoding="utf-8",
    )
    assert main(words) == 2
    assert "--disk-path must say where" in capsys.readouterr().err
    assert main([*words, "--disk-path", "/mnt/kv"]) == 0
    capsys.readouterr()
    assert main(["export", "kv.yaml", "--to", "lmcache"]) == 0
    text = capsys.readouterr().out
    assert "local_disk: /mnt/kv" in text and "max_local_disk_size" in text
    assert (
        main(
            [word for word in words if word not in {"--kv-file", "kv.yaml"}]
            + ["--disk-path", "/mnt/kv"]
        )
        == 2
    )
    assert "--disk-path needs --kv-file" in capsys.readouterr().err


def test_kv_plan_against_a_file_of_lmcache(capsys: pytest.CaptureFixture[str]) -> None:
    """What it has is offered where nothing else is; the plan's own export is as good as the plan; a
    key that LMCache does not know is named once, and one that is not priced is refused.
    """
    words = ["kv-plan", "--model", "qwen3-30b-a3b", "--machine", "h100"]
    words += ["--workload", "requests.yaml", "--objective", "ttft"]
    words += ["--set", "instance.kv_tokens=6000"]
    file = Path("lmcache.yaml")
    file.write_text("max_local_cpu_size: 20\nchunk_sise: 5\n", encoding="utf-8")
    document = json_of(capsys, *words, "--against", str(file))
    checked_result(KvPlanResult, document)
    assert document["against"]["serving"]["tiers"][0]["capacity_bytes"] == 20 * 2**30
    assert document["gain_over_against_fraction"] >= -0.0101
    assert sum("chunk_sise" in warning for warning in document["warnings"]) == 1
    text = text_of(capsys, *words, "--against", str(file))
    assert "What you run (1 × 1 GPU, 21.5 GB of cpu" in " ".join(text.split())
    file.write_text("save_decode_cache: true\n", encoding="utf-8")
    assert main([*words, "--against", str(file)]) == 2
    error = capsys.readouterr().err
    assert "lmcache.yaml: save_decode_cache would change the answer" in error
    assert error.count("\n") == 1
