"""Traces of requests: each format read, each wrong line named, nothing read before it is asked for."""

import json
from itertools import islice
from pathlib import Path

import pytest

from hwprofiles import InputError
from sim.requests import Span, load_requests, prefix_keys, read_trace
from tests.shared_data import shared_data

MOONCAKE = {"timestamp": 27, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 2353]}
LOOKUP = {"timestamp": 10.5, "seq_len": 600, "chunk_size": 256, "chunk_hashes": ["0xab", "0xcd"], "model_name": "any"}


def _written(tmp_path: Path, name: str, *rows: object) -> Path:
    path = tmp_path / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_mooncake_blocks_become_spans(tmp_path: Path) -> None:
    """Blocks of 512 tokens, the last one partial; milliseconds become nanoseconds."""
    first, second = read_trace(_written(tmp_path, "trace.jsonl", MOONCAKE, MOONCAKE | {"timestamp": 28}))
    assert first.prompt == (Span(content=46, num_tokens=512), Span(content=47, num_tokens=512), Span(content=2353, num_tokens=76))
    assert (first.number, first.arrival_ns, first.output_tokens, first.prompt_tokens) == (0, 27_000_000, 52, 1100)
    assert (second.number, second.arrival_ns) == (1, 28_000_000)


def test_lookup_log_shares_chunks_but_no_tails(tmp_path: Path) -> None:
    """Equal chunk hashes are equal content; what follows the last full chunk is the request's own; the first arrives at 0."""
    first, second = read_trace(_written(tmp_path, "log.jsonl", LOOKUP, LOOKUP | {"timestamp": 11}))
    assert prefix_keys(first.prompt, 256) == prefix_keys(second.prompt, 256) and len(prefix_keys(first.prompt, 256)) == 2
    assert prefix_keys(first.prompt, 300)[0] == prefix_keys(second.prompt, 300)[0]
    assert prefix_keys(first.prompt, 600) != prefix_keys(second.prompt, 600)
    assert (first.prompt_tokens, first.arrival_ns, second.arrival_ns) == (600, 0, 500_000_000)


def test_azure_rows_are_their_own_content(tmp_path: Path) -> None:
    """Times to a hundred nanoseconds from the first row on; equal lengths share nothing."""
    rows = "TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:16:00.0000001,374,44"
    first, second = read_trace(_written(tmp_path, "azure.csv", *rows))
    assert (first.arrival_ns, second.arrival_ns) == (0, 13_319_410_100)
    assert prefix_keys(first.prompt, 100) != prefix_keys(second.prompt, 100)


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_lengths_in_both_forms(name: str, tmp_path: Path) -> None:
    """A list of lengths reads alike from CSV and JSONL; arrivals are in seconds."""
    csv = "prompt_tokens,output_tokens,arrival_s", "10,2,0", "20,3,1.5"
    rows = ({"prompt_tokens": 10, "output_tokens": 2, "arrival_s": 0}, {"prompt_tokens": 20, "output_tokens": 3, "arrival_s": 1.5})
    made = list(read_trace(_written(tmp_path, name, *(csv if name.endswith("csv") else rows))))
    assert [(each.prompt_tokens, each.output_tokens, each.arrival_ns) for each in made] == [(10, 2, 0), (20, 3, 1_500_000_000)]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("t.jsonl", [MOONCAKE, "{"], "t.jsonl:2: broken JSON"),
        ("t.jsonl", [MOONCAKE, "[1]"], "t.jsonl:2: a line is a JSON object, got list"),
        ("t.jsonl", [MOONCAKE, MOONCAKE | {"input_length": 0}], "t.jsonl:2: input_length must be a whole number of at least 1"),
        ("t.jsonl", [MOONCAKE | {"input_length": 1025}, MOONCAKE | {"input_length": 1024}], "t.jsonl:2: hash_ids must list 2 hashes"),
        ("t.jsonl", [MOONCAKE | {"hash_ids": [1, 2, -3]}], "t.jsonl:1: hash_ids must be whole numbers of at least 0, got -3"),
        ("t.jsonl", [MOONCAKE, MOONCAKE | {"timestamp": 26}], "t.jsonl:2: timestamp must not be earlier"),
        ("t.jsonl", [MOONCAKE, MOONCAKE | {"timestamp": "x"}], "t.jsonl:2: timestamp must be a number of at least 0"),
        ("t.jsonl", [{key: MOONCAKE[key] for key in ("timestamp", "hash_ids")} | {"inputlength": 5}], "key output_length is missing"),
        ("t.jsonl", [LOOKUP | {"chunk_hashes": ["0xab", "zz"]}], "chunk_hashes must be hexadecimal text"),
        ("t.jsonl", [LOOKUP | {"seq_len": 200}], "chunk_hashes must list the 0 full chunks of 200 tokens, got 2"),
        ("t.jsonl", [{"tokens": 3}], "no request trace has the keys tokens; one of hash_ids, chunk_hashes, prompt_tokens is due"),
        ("t.jsonl", [{"prompt_tokens": 3, "output_tokens": 1, "arival_s": 1}], "unknown key arival_s; did you mean 'arrival_s'"),
        ("t.jsonl", [], "t.jsonl: the trace is empty"),
        ("t.csv", ["prompt_tokens,output_tokens", "3"], "t.csv:2: 2 columns are due"),
        ("t.csv", ["prompt_tokens,output_tokens", "3,x"], "t.csv:2: output_tokens must be a whole number of at least 1"),
        ("t.csv", ["prompt_tokens,outputs", "3,4"], "t.csv:1: no column output_tokens; did you mean 'outputs'"),
        ("t.csv", ["prompt_tokens,output_tokens,size", "3,4,5"], "t.csv:1: unknown column size"),
        ("t.csv", ["TIMESTAMP,ContextTokens,GeneratedTokens", "today,3,4"], "t.csv:2: TIMESTAMP must be a time such as"),
        ("t.csv", ["TIMESTAMP,ContextTokens,GeneratedTokens"], "t.csv: no request under the header"),
        ("t.txt", [MOONCAKE], "t.txt: a request trace is .jsonl or .csv"),
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
    """The conversation traces of Mooncake and Azure have the requests and tokens that their own tables state."""
    mooncake = list(load_requests(str(shared_data("requests/mooncake-conversation.jsonl"))).requests())
    assert (len(mooncake), sum(request.prompt_tokens for request in mooncake)) == (12_031, 144_793_823)
    assert sum(1 for _ in load_requests(str(shared_data("requests/azure-2023-conversation.csv"))).requests()) == 19_366
