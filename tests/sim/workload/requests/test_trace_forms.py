"""The same requests written in every format of a trace: they are read alike, whatever their numbers."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from hwprofiles.units import NS_PER_MS, NS_PER_S
from sim.workload.requests import TraceUnits, prefix_keys, read_trace

Asked = tuple[int, int, int]
"""Milliseconds of arrival, tokens of the prompt and of the answer."""
TOKENS = st.integers(1, 3000)
START = datetime(2024, 10, 15, tzinfo=UTC)
OWN_UNITS = TraceUnits()
"""Those of the format."""
LENGTH_NAMES = (
    ("prompt_tokens", "output_tokens"),
    ("prompt_len", "output_len"),
    ("input_tokens", "completion_tokens"),
)


@st.composite
def asked(draw: st.DrawFn) -> list[Asked]:
    """Some requests, the first at 0, each no earlier than the one before it."""
    gaps = draw(st.lists(st.integers(0, 5000), min_size=0, max_size=6))
    times = [0]
    for gap in gaps:
        times.append(times[-1] + gap)
    return [(at, draw(TOKENS), draw(TOKENS)) for at in times]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the files of all examples."""
    return tmp_path_factory.mktemp("traces")


def _lines(rows: Sequence[object]) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


def _csv(head: str, rows: Sequence[Sequence[object]]) -> str:
    return _lines([head, *(",".join(map(str, row)) for row in rows)])


def _lengths_csv(made: list[Asked]) -> str:
    rows = [(prompt, output, at / 1000) for at, prompt, output in made]
    return _csv("prompt_tokens,output_tokens,arrival_s", rows)


def _turned_csv(made: list[Asked]) -> str:
    """Columns in another order."""
    rows = [(at / 1000, output, prompt) for at, prompt, output in made]
    return _csv("arrival_s,output_tokens,prompt_tokens", rows)


def _lengths_jsonl(made: list[Asked]) -> str:
    keys = ("arrival_s", "prompt_tokens", "output_tokens")
    return _lines([dict(zip(keys, (at / 1000, *rest), strict=True)) for at, *rest in made])


def _azure(made: list[Asked]) -> str:
    rows = [
        ((START + timedelta(milliseconds=at)).strftime("%Y-%m-%d %H:%M:%S.%f"), prompt, output)
        for at, prompt, output in made
    ]
    return _csv("TIMESTAMP,ContextTokens,GeneratedTokens", rows)


def _burst(made: list[Asked]) -> str:
    rows = [(at / 1000, "ChatGPT", prompt, output) for at, prompt, output in made]
    return _csv("Timestamp,Model,Request tokens,Response tokens", rows)


def _blocks(prompt: int, size: int) -> list[int]:
    return list(range(-(-prompt // size)))


def _mooncake(made: list[Asked]) -> str:
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    rows = [(*each, _blocks(each[1], 512)) for each in made]
    return _lines([dict(zip(keys, row, strict=True)) for row in rows])


def _bailian(made: list[Asked]) -> str:
    rows = [
        {"chat_id": 1, "timestamp": at / 1000, "input_length": prompt, "output_length": output}
        | {"hash_ids": _blocks(prompt, 16)}
        for at, prompt, output in made
    ]
    return _lines(rows)


def _vllm(made: list[Asked]) -> str:
    times, prompts, outputs = zip(*made, strict=True)
    return json.dumps(
        {
            "input_lens": prompts,
            "output_lens": outputs,
            "start_times": [at / 1000 for at in times],
            "errors": [""] * len(made),
        }
    )


def _aiperf(made: list[Asked]) -> str:
    rows = [
        {
            "metadata": {"request_start_ns": at * NS_PER_MS, "benchmark_phase": "profiling"},
            "metrics": {
                f"{name}_sequence_length": {"value": tokens, "unit": "tokens"}
                for name, tokens in (("input", prompt), ("output", output))
            },
            "error": None,
        }
        for at, prompt, output in made
    ]
    return _lines(rows)


FORMS: Mapping[str, tuple[str, Callable[[list[Asked]], str]]] = {
    "lengths": ("csv", _lengths_csv),
    "columns in another order": ("csv", _turned_csv),
    "lines of lengths": ("jsonl", _lengths_jsonl),
    "Azure": ("csv", _azure),
    "BurstGPT": ("csv", _burst),
    "Mooncake": ("jsonl", _mooncake),
    "Bailian": ("jsonl", _bailian),
    "vLLM's benchmark": ("json", _vllm),
    "AIPerf": ("jsonl", _aiperf),
}


def _read(folder: Path, suffix: str, text: str, units: TraceUnits = OWN_UNITS) -> list[Any]:
    path = folder / f"t.{suffix}"
    path.write_text(text, encoding="utf-8")
    return list(read_trace(path, units))


@given(made=asked(), form=st.sampled_from(sorted(FORMS)))
def test_every_format_says_the_same(made: list[Asked], form: str, folder: Path) -> None:
    """Arrivals to a microsecond, prompts, answers and numbers, in the order of arrival."""
    suffix, write = FORMS[form]
    read = _read(folder, suffix, write(made))
    assert [each.number for each in read] == list(range(len(made)))
    assert [(each.prompt_tokens, each.output_tokens) for each in read] == [
        (prompt, output) for _, prompt, output in made
    ]
    for each, (at, _, _) in zip(read, made, strict=True):
        assert each.arrival_ns == pytest.approx(at * NS_PER_MS, abs=1000)
        assert sum(span.num_tokens for span in each.prompt) == each.prompt_tokens


@given(made=asked(), names=st.sampled_from(LENGTH_NAMES), has_text=st.booleans(), data=st.data())
def test_lists_of_lengths_go_by_any_of_their_names(
    made: list[Asked],
    names: tuple[str, str],
    has_text: bool,
    data: st.DataObject,
    folder: Path,
) -> None:
    """Objects, pairs with or without their text, and conversations whose turns are counted; all
    arrive at once.
    """
    prompt_name, output_name = names
    forms: list[Callable[[int, int], object]] = [
        lambda prompt, output: {prompt_name: prompt, output_name: output},
        lambda prompt, output: ["text", prompt, output] if has_text else [prompt, output],
        lambda prompt, output: {
            "conversations": [
                {"from": "human", "num_tokens": prompt},
                {"from": "gpt", "tokens": output},
            ]
        },
    ]
    write = data.draw(st.sampled_from(forms))
    items = [write(prompt, output) for _, prompt, output in made]
    read = _read(folder, "json", json.dumps(items))
    assert [(each.arrival_ns, each.prompt_tokens, each.output_tokens) for each in read] == [
        (0, prompt, output) for _, prompt, output in made
    ]


@given(
    prompt=TOKENS,
    block=st.sampled_from([16, 64, 100, 512]),
    shared=st.integers(0, 40),
    unit=st.sampled_from([("ms", NS_PER_MS), ("s", NS_PER_S)]),
)
def test_stated_units_are_those_of_the_file(
    prompt: int, block: int, shared: int, unit: tuple[str, int], folder: Path
) -> None:
    """Blocks of any size and either unit of time; two prompts share the blocks of equal hashes."""
    name, unit_ns = unit
    count = -(-prompt // block)
    shared = min(shared, count)
    hashes = [list(range(count)), [*range(shared), *range(1000, 1000 + count - shared)]]
    rows = [
        {"timestamp": at, "input_length": prompt, "output_length": 2, "hash_ids": ids}
        for at, ids in enumerate(hashes)
    ]
    units = TraceUnits(block_tokens=block, time_unit=name)
    first, second = _read(folder, "jsonl", _lines(rows), units)
    assert (first.arrival_ns, second.arrival_ns) == (0, unit_ns)
    pairs = zip(prefix_keys(first.prompt, block), prefix_keys(second.prompt, block), strict=True)
    # Only whole blocks have keys.
    assert sum(one == other for one, other in pairs) == min(shared, prompt // block)


@given(
    made=asked(),
    form=st.sampled_from(sorted(set(FORMS) - {"vLLM's benchmark"})),
    data=st.data(),
)
def test_a_line_that_is_damaged_is_named(
    made: list[Asked], form: str, data: st.DataObject, folder: Path
) -> None:
    """Words in place of a line: the error names the file and that line, in one line of its own."""
    suffix, write = FORMS[form]
    lines = write(made).splitlines()
    first = 1 if suffix == "csv" else 0
    index = data.draw(st.integers(first, len(lines) - 1))
    lines[index] = data.draw(st.sampled_from(["{", "x", "1,2,3,4,5,6,7", "[1]"]))
    with pytest.raises(InputError) as caught:
        _read(folder, suffix, _lines(lines))
    assert f"t.{suffix}:{index + 1}: " in str(caught.value)
    assert "\n" not in str(caught.value)
