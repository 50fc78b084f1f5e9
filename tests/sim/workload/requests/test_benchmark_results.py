"""Requests out of what benchmarks write, and out of lists of lengths."""

import json
from pathlib import Path
from typing import Any

import pytest

from hwprofiles import InputError
from sim.workload.requests import load_requests, read_trace

RESULT = {
    "backend": "vllm",
    "max_concurrency": 2,
    "input_lens": [10, 20, 30],
    "output_lens": [5, 0, 7],
    "start_times": [1000.5, 1002.0, 1001.0],
    "errors": ["", "timeout", ""],
}


def _record(start_ns: int, prompt: int, output: int, **rest: Any) -> dict[str, Any]:
    """A line of AIPerf's export."""
    metadata = {"request_start_ns": start_ns, "benchmark_phase": "profiling"}
    metrics = {
        "input_sequence_length": {"value": prompt, "unit": "tokens"},
        "output_sequence_length": {"value": output, "unit": "tokens"},
    }
    return {"metadata": metadata, "metrics": metrics, "error": None} | rest


FAILED = {"metrics": {"error_isl": {"value": 9, "unit": "tokens"}}, "error": {"code": 499}}
WARMUP = {"metadata": {"request_start_ns": 5, "benchmark_phase": "warmup"}}


def _json(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


def _jsonl(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def _read(path: Path) -> list[tuple[int, int, int]]:
    return [(each.arrival_ns, each.prompt_tokens, each.output_tokens) for each in read_trace(path)]


def test_a_result_of_vllm_bench(tmp_path: Path) -> None:
    """Requests by their starts, the first at 0; what failed is left out and counted."""
    path = _json(tmp_path, RESULT)
    assert _read(path) == [(0, 10, 5), (500_000_000, 30, 7)]
    assert load_requests(str(path)).notes() == (
        f"{path}: 1 of 3 requests have no answer (0 output tokens): left out",
    )


def test_a_result_without_starts(tmp_path: Path) -> None:
    """All arrive at once."""
    lens = {"input_lens": [10, 20], "output_lens": [5, 6]}
    assert _read(_json(tmp_path, lens)) == [(0, 10, 5), (0, 20, 6)]


def test_an_export_of_aiperf(tmp_path: Path) -> None:
    """Lines in the order of their ends; failures are left out and counted, the warm-up is left out."""
    start = 1_759_813_207_532_900_363
    rows = (_record(start + 7, 20, 4), _record(start, 10, 3), _record(start + 9, 0, 0, **FAILED))
    path = _jsonl(tmp_path, *rows, _record(0, 1, 1, **WARMUP))
    assert _read(path) == [(0, 10, 3), (7, 20, 4)]
    assert load_requests(str(path)).notes() == (
        f"{path}: 1 of 3 requests have no answer (0 output tokens): left out",
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            RESULT | {"output_lens": [5]},
            "output_lens must be a list of 3 values, one for each request, got 1",
        ),
        (
            RESULT | {"input_lens": [0, 1, 2]},
            "request 0: input_lens must be a whole number of at least 1",
        ),
        ({"duration": 3, "total_input_tokens": 5}, "one of these is due: input_lens"),
        (
            [{"conversations": [{"from": "human", "value": "hi"}] * 2}],
            "turns are texts, whose tokens a tokenizer",
        ),
        ([{"conversations": [{"num_tokens": 3}]}], "must be a list of two turns or more"),
        ([{"prompt_len": 3}], "item 0: none of the keys output_tokens, output_len"),
        ([[3, 5], 4], "item 1 must be an object or a pair of lengths"),
        ([], "no request trace has the keys"),
        (3, "no request trace has the keys"),
    ],
)
def test_wrong_files_are_named(value: Any, message: str, tmp_path: Path) -> None:
    """One line that says what would be right."""
    with pytest.raises(InputError, match=message) as caught:
        read_trace(_json(tmp_path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_record(1, 10, 3, metrics=5), "metrics must be an object, got int"),
        (_record(1, 10, 3, metadata={}), "key request_start_ns is missing"),
        (_record(1, 10, -3), "output_sequence_length must be a whole number"),
    ],
)
def test_wrong_records_are_named(row: Any, message: str, tmp_path: Path) -> None:
    """One line that says what would be right."""
    with pytest.raises(InputError, match=message):
        read_trace(_jsonl(tmp_path, row))
