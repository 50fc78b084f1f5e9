"""Traces of requests: each format read, each wrong line named, nothing read before it is asked for."""

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest

from hwprofiles import InputError
from sim.workload.requests import (
    Span,
    TraceUnits,
    load_requests,
    prefix_keys,
    read_trace,
    trace_units,
)
from tests.shared_data import shared_data

MOONCAKE = {"timestamp": 27, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 2353]}
BURST = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
)
ASKED = [(5, 472, 18), (45, 1087, 0), (118, 417, 276), (145, 600, 3)]
SECOND = [*range(32), *range(100, 118)]
LOOKUP = {
    "timestamp": 10.5,
    "seq_len": 600,
    "chunk_size": 256,
    "chunk_hashes": ["0xab", "0xcd"],
    "model_name": "any",
}


def _written(tmp_path: Path, name: str, *rows: object) -> Path:
    path = tmp_path / name
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows),
        encoding="utf-8",
    )
    return path


def _bailian(timestamp: float, tokens: int, hashes: Iterable[int]) -> dict[str, object]:
    row = {"chat_id": 1, "parent_chat_id": -1, "timestamp": timestamp, "input_length": tokens}
    return row | {"output_length": 60, "type": "text", "turn": 1, "hash_ids": list(hashes)}


def trace_notes_of(path: Path, num_requests: int | None = None) -> list[str]:
    """What is said of a trace."""
    return list(load_requests(str(path)).notes(num_requests))


def test_mooncake_blocks_become_spans(tmp_path: Path) -> None:
    """Blocks of 512 tokens, the last one partial; milliseconds become nanoseconds."""
    first, second = read_trace(
        _written(tmp_path, "trace.jsonl", MOONCAKE, MOONCAKE | {"timestamp": 28})
    )
    assert first.prompt == (
        Span(content=46, num_tokens=512),
        Span(content=47, num_tokens=512),
        Span(content=2353, num_tokens=76),
    )
    assert (first.number, first.arrival_ns, first.output_tokens, first.prompt_tokens) == (
        0,
        27_000_000,
        52,
        1100,
    )
    assert (second.number, second.arrival_ns) == (1, 28_000_000)


def test_lookup_log_shares_chunks_but_no_tails(tmp_path: Path) -> None:
    """Equal chunk hashes are equal content; what follows the last full chunk is the request's own;
    the first arrives at 0.
    """
    first, second = read_trace(_written(tmp_path, "log.jsonl", LOOKUP, LOOKUP | {"timestamp": 11}))
    assert (
        prefix_keys(first.prompt, 256) == prefix_keys(second.prompt, 256)
        and len(prefix_keys(first.prompt, 256)) == 2
    )
    assert prefix_keys(first.prompt, 300)[0] == prefix_keys(second.prompt, 300)[0]
    assert prefix_keys(first.prompt, 600) != prefix_keys(second.prompt, 600)
    assert (first.prompt_tokens, first.arrival_ns, second.arrival_ns) == (600, 0, 500_000_000)


def test_azure_rows_are_their_own_content(tmp_path: Path) -> None:
    """Times to a hundred nanoseconds from the first row on; equal lengths share nothing."""
    rows = (
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:16:00.0000001,374,44",
    )
    first, second = read_trace(_written(tmp_path, "azure.csv", *rows))
    assert (first.arrival_ns, second.arrival_ns) == (0, 13_319_410_100)
    assert prefix_keys(first.prompt, 100) != prefix_keys(second.prompt, 100)


def test_bailian_blocks_are_of_16_tokens(tmp_path: Path) -> None:
    """Seconds, and blocks of 16 tokens; the second prompt shares the 32 full blocks of the first."""
    path = _written(
        tmp_path, "t.jsonl", _bailian(61.5, 521, range(33)), _bailian(75.25, 800, SECOND)
    )
    first, second = read_trace(path)
    assert (first.arrival_ns, second.arrival_ns) == (61_500_000_000, 75_250_000_000)
    assert first.prompt_tokens + second.prompt_tokens == 1321
    both = zip(prefix_keys(first.prompt, 16), prefix_keys(second.prompt, 16), strict=False)
    assert 16 * sum(one == other for one, other in both) == 512
    assert trace_notes_of(path) == [f"{path}: Bailian trace; not needed and ignored: type, turn"]


def test_a_prompt_without_hashes_shares_nothing(tmp_path: Path) -> None:
    """``hash_ids`` may be left out; then nothing is known to be shared."""
    row = _bailian(1.0, 521, range(33))
    del row["hash_ids"]
    path = _written(tmp_path, "t.jsonl", row, row)
    first, second = read_trace(path)
    assert prefix_keys(first.prompt, 16) != prefix_keys(second.prompt, 16)
    assert not load_requests(str(path)).says_what_is_shared


def test_units_may_be_stated(tmp_path: Path) -> None:
    """A file with Mooncake's keys, blocks of 64 tokens and seconds; from outside or in a request
    file.
    """
    row = {"timestamp": 1.5, "input_length": 130, "output_length": 2, "hash_ids": [1, 2, 3]}
    path = _written(tmp_path, "t.jsonl", row)
    with pytest.raises(InputError, match=r"in blocks of 512, got 3; that fits block_tokens 64"):
        next(read_trace(path))
    units = TraceUnits(block_tokens=64, time_unit="s")
    (request,) = read_trace(path, units)
    assert (request.arrival_ns, request.prompt[-1].num_tokens) == (1_500_000_000, 2)
    head = "format: rosin-requests/1\nname: a\nsource: b\ndate: '2026'\ntrace: t.jsonl\n"
    stated = "trace_units: {block_tokens: 64, time_unit: s}\n"
    assert list(load_requests(str(_written(tmp_path, "r.yaml", head + stated))).requests()) == [
        request
    ]
    bare = load_requests(str(_written(tmp_path, "bare.yaml", head)), units)
    assert list(bare.requests()) == [request]


@pytest.mark.parametrize(
    ("block_tokens", "unit", "message"),
    [
        (None, "min", "no unit of time 'min'"),
        (16, None, "block_tokens cannot be stated of a trace in the format BurstGPT"),
    ],
)
def test_units_that_do_not_fit(
    block_tokens: int | None, unit: str | None, message: str, tmp_path: Path
) -> None:
    """An unknown unit, and one that the format has none of."""
    path = _written(tmp_path, "t.csv", BURST, "5,a,3.1,ChatGPT,472,18,490,Conversation log")
    with pytest.raises(InputError, match=message):
        read_trace(path, trace_units(block_tokens, unit))


@pytest.mark.parametrize(("size", "own"), [(16, "Bailian"), (512, "Mooncake")])
def test_blocks_of_another_format_are_recognised(size: int, own: str, tmp_path: Path) -> None:
    """A wrong number of hashes names the format whose blocks it fits."""
    row: dict[str, object] = {"timestamp": 1, "input_length": 5000, "output_length": 2}
    row |= {"hash_ids": list(range(-(-5000 // size)))} | ({"chat_id": 1} if size == 512 else {})
    with pytest.raises(InputError, match=f"that fits block_tokens {size}, as in {own}'s"):
        next(read_trace(_written(tmp_path, "t.jsonl", row)))


def test_burstgpt_counts_failures_apart(tmp_path: Path) -> None:
    """Seconds from the first row on; what failed is left out, and said, as are columns that are not
    needed.
    """
    rows = [
        f"{at},a,3.1,ChatGPT,{asked},{told},{asked + told},Conversation log"
        for at, asked, told in ASKED
    ]
    path = _written(tmp_path, "t.csv", BURST, *rows)
    made = list(read_trace(path))
    assert [
        (each.number, each.arrival_ns, each.prompt_tokens, each.output_tokens) for each in made
    ] == [
        (0, 0, 472, 18),
        (1, 113_000_000_000, 417, 276),
        (2, 140_000_000_000, 600, 3),
    ]
    ignored, failed = trace_notes_of(path)
    assert "BurstGPT trace; not needed and ignored: Session ID, Elapsed time, Model" in ignored
    assert failed.endswith("1 of 4 requests have no answer (0 output tokens): left out")
    assert trace_notes_of(path, 1) == [ignored]


def test_azure_of_2024_and_2025(tmp_path: Path) -> None:
    """Times with a zone; the number of images is named and ignored."""
    head = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens"
    rows = "2024-10-15 00:00:00.5+00:00,2,374,44", "2024-10-15 00:00:01+00:00,0,10,5"
    path = _written(tmp_path, "t.csv", head, *rows)
    assert [request.arrival_ns for request in read_trace(path)] == [0, 500_000_000]
    assert trace_notes_of(path) == [f"{path}: Azure trace; not needed and ignored: NumImages"]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("t.jsonl", [MOONCAKE, "{"], "t.jsonl:2: broken JSON"),
        ("t.jsonl", [MOONCAKE, "[1]"], "t.jsonl:2: a line is a JSON object, got list"),
        (
            "t.jsonl",
            [MOONCAKE, MOONCAKE | {"input_length": 0}],
            "t.jsonl:2: input_length must be a whole number of at least 1, and at most 16,777,216, got 0",
        ),
        (
            "t.jsonl",
            [MOONCAKE | {"input_length": 1025}, MOONCAKE | {"input_length": 1024}],
            "t.jsonl:2: hash_ids must list 2 hashes",
        ),
        (
            "t.jsonl",
            [MOONCAKE | {"hash_ids": [1, 2, -3]}],
            "t.jsonl:1: hash_ids must be whole numbers of at least 0, got -3",
        ),
        (
            "t.jsonl",
            [MOONCAKE, MOONCAKE | {"timestamp": 26}],
            "t.jsonl:2: timestamp must not be earlier",
        ),
        (
            "t.jsonl",
            [MOONCAKE, MOONCAKE | {"timestamp": "x"}],
            "at most 4,000,000,000,000, got 'x'",
        ),
        (
            "t.jsonl",
            [{key: MOONCAKE[key] for key in ("timestamp", "hash_ids")} | {"inputlength": 5}],
            "key output_length is missing",
        ),
        (
            "t.jsonl",
            [LOOKUP | {"chunk_hashes": ["0xab", "zz"]}],
            "chunk_hashes must be hexadecimal text",
        ),
        (
            "t.jsonl",
            [LOOKUP | {"seq_len": 200}],
            "chunk_hashes must list the 0 full chunks of 200 tokens, got 2",
        ),
        (
            "t.jsonl",
            [{"tokens": 3}],
            "no request trace has the keys tokens; one of these is due: chat_id (Bailian), hash_ids (Mooncake)",
        ),
        (
            "t.jsonl",
            [{"prompt_tokens": 3, "output_tokens": 1, "arival_s": 1}],
            "unknown key arival_s; did you mean 'arrival_s'",
        ),
        ("t.jsonl", [], "t.jsonl: the trace is empty"),
        ("t.csv", ["prompt_tokens,output_tokens", "3"], "t.csv:2: 2 columns are due"),
        (
            "t.csv",
            ["prompt_tokens,output_tokens", "3,x"],
            "t.csv:2: output_tokens must be a whole number of at least 0, and at most 16,777,216, got 'x'",
        ),
        (
            "t.csv",
            ["prompt_tokens,outputs", "3,4"],
            "t.csv:1: no column output_tokens; did you mean 'outputs'",
        ),
        ("t.csv", ["prompt_tokens,output_tokens,size", "3,4,5"], "t.csv:1: unknown column size"),
        (
            "t.csv",
            ["TIMESTAMP,ContextTokens,GeneratedTokens", "today,3,4"],
            "t.csv:2: TIMESTAMP must be a time such as",
        ),
        ("t.csv", ["TIMESTAMP,ContextTokens,GeneratedTokens"], "t.csv: no request with an answer"),
        ("t.csv", ["prompt_tokens,output_tokens", "3,0"], "t.csv: no request with an answer"),
        (
            "t.csv",
            ["Timestamp,Model,Total tokens", "3,a,5"],
            "it looks like BurstGPT, which has Timestamp, Request tokens",
        ),
        ("t.csv", ["Timestamp,Request tokens,Responses", "3,5,5"], "no column Response tokens"),
        (
            "t.jsonl",
            [{"timestamp": 3, "input_lengths": 5}],
            "it looks like Bailian, which has timestamp, input_length",
        ),
        ("t.txt", [MOONCAKE], "t.txt: a request trace is .jsonl or .json or .csv"),
    ],
)
def test_a_wrong_line_is_named(name: str, rows: list[object], message: str, tmp_path: Path) -> None:
    """File, line, key and value in one line."""
    path = _written(tmp_path, name, *rows)
    with pytest.raises(InputError) as caught:
        list(read_trace(path))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_lines_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """A broken third line does not disturb who takes two requests."""
    requests = read_trace(_written(tmp_path, "t.jsonl", MOONCAKE, MOONCAKE, "{"))
    assert [request.number for request in islice(requests, 2)] == [0, 1]
    with pytest.raises(InputError, match=r"t\.jsonl:3"):
        next(requests)


def test_the_real_traces_read_whole() -> None:
    """The conversation traces of Mooncake and Azure have the requests and tokens that their own
    tables state.
    """
    mooncake = list(
        load_requests(str(shared_data("requests/mooncake-conversation.jsonl"))).requests()
    )
    assert (len(mooncake), sum(request.prompt_tokens for request in mooncake)) == (
        12_031,
        144_793_823,
    )
    assert (
        sum(
            1
            for _ in load_requests(
                str(shared_data("requests/azure-2023-conversation.csv"))
            ).requests()
        )
        == 19_366
    )
