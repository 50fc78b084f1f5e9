"""Traces: importers, what they refuse, sequence borders and gate weights."""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import TempPathFactory

from hwprofiles import InputError
from sim.routing import Draw, RecordedRouting, import_trace, load_trace, save_trace, statistics

IDS = np.array([[[0, 1], [2, 3]], [[1, 2], [3, 0]], [[4, 0], [1, 2]]], np.int16)
LENGTHS = np.array([2, 1])


def _trace() -> RecordedRouting:
    return RecordedRouting(
        name="t",
        expert_ids=IDS,
        num_experts=6,
        sequence_num_tokens=LENGTHS,
        token_ids=np.array([7, 8, 7]),
    )


@st.composite
def recorded(draw: st.DrawFn) -> RecordedRouting:
    """Sequences of tokens that each select distinct experts; weights fall along the rank."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    num_layers = draw(st.integers(1, 3))
    num_experts = draw(st.integers(2, 9))
    top_k = draw(st.integers(1, num_experts))
    shape = (sum(lengths), num_layers, top_k)
    choices = st.permutations(range(num_experts)).map(lambda order: order[:top_k])
    count = shape[0] * num_layers
    ids = draw(st.lists(choices, min_size=count, max_size=count))
    # Powers of a half: exact in every format, and no two of a token alike.
    weights = np.broadcast_to(0.5 ** np.arange(1, top_k + 1), shape)
    return RecordedRouting(
        name="t",
        expert_ids=np.array(ids, np.int16).reshape(shape),
        num_experts=num_experts,
        sequence_num_tokens=np.array(lengths),
        weights=weights.astype(np.float32),
    )


def _rows(trace: RecordedRouting) -> list[tuple[int, int, int]]:
    """Sequence, token within it and row of each recorded token."""
    borders = trace.borders.tolist()
    return [
        (sequence, row - start, row)
        for sequence, (start, end) in enumerate(pairwise(borders))
        for row in range(start, end)
    ]


def _as_table(trace: RecordedRouting, order: random.Random) -> str:
    """A row for each choice, in any order."""
    assert trace.weights is not None
    lines = [
        f"{sequence},{token},{layer},{rank},{trace.expert_ids[row, layer, rank]},{trace.weights[row, layer, rank]}"
        for sequence, token, row in _rows(trace)
        for layer in range(trace.expert_ids.shape[1])
        for rank in range(trace.expert_ids.shape[2])
    ]
    order.shuffle(lines)
    return "\n".join(["sequence,token,layer,rank,expert,weight", *lines])


def _as_lines(trace: RecordedRouting, order: random.Random, by_token: bool) -> str:
    """A line for each token or request; ranks in any order, which the weights tell."""
    assert trace.weights is not None
    ranks = order.sample(range(trace.expert_ids.shape[2]), trace.expert_ids.shape[2])
    ids = trace.expert_ids[..., ranks].tolist()
    weights = trace.weights[..., ranks].tolist()
    lines: list[dict[str, Any]] = []
    for sequence, token, row in _rows(trace):
        if by_token:
            lines.append({"routed_experts": ids[row], "gate_weights": weights[row]})
        elif token == 0:
            lines.append({"routed_experts": [ids[row]], "gate_weights": [weights[row]]})
        else:
            lines[-1]["routed_experts"].append(ids[row])
            lines[-1]["gate_weights"].append(weights[row])
        lines[-1]["request_id"] = str(sequence)
    return "\n".join(map(json.dumps, lines))


@given(
    trace=recorded(),
    form=st.sampled_from(["csv", "jsonl by request", "jsonl by token"]),
    order=st.randoms(use_true_random=False),
)
def test_formats_say_the_same(
    trace: RecordedRouting, form: str, order: random.Random, tmp_path_factory: TempPathFactory
) -> None:
    """Each format gives the same trace: ranks by descending weight, sequences apart; and so does
    the .npz written from it.
    """
    path = tmp_path_factory.mktemp("routing") / f"t.{form.split()[0]}"
    is_table = form == "csv"
    text = _as_table(trace, order) if is_table else _as_lines(trace, order, "token" in form)
    path.write_text(text, encoding="utf-8")
    imported = import_trace(path, num_experts=trace.num_experts)
    save_trace(imported, path.with_suffix(".npz"))
    for found in (imported, load_trace(path.with_suffix(".npz"))):
        assert np.array_equal(found.expert_ids, trace.expert_ids)
        assert found.weights is not None
        assert trace.weights is not None
        assert np.array_equal(found.weights, trace.weights)
        assert found.borders.tolist() == trace.borders.tolist()
        assert found.num_experts == trace.num_experts


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "t.csv",
            "token,layer,rank,export\n0,0,0,0",
            r"t\.csv: no column named 'export'; did you mean 'expert'",
        ),
        ("t.csv", "token,layer,rank\n0,0,0", r"t\.csv: no column expert"),
        (
            "t.csv",
            "token,layer,rank,expert\n0,0,0,x",
            r"t\.csv:2: expert must be an integer, got 'x'",
        ),
        (
            "t.csv",
            "token,layer,rank,expert\n0,0,0,1\n0,0,0,2",
            r"token 0, layer 0, rank 0 is there 2 times",
        ),
        (
            "t.csv",
            "token,layer,rank,expert\n0,0,0,1\n1,1,0,2",
            r"token 0, layer 1, rank 0 is there 0 times",
        ),
        ("t.jsonl", '{"experts": []}', r"t\.jsonl:1: no key named 'experts'"),
        ("t.jsonl", '{"expert_ids": [[0, 1], [2]]}', r"t\.jsonl:1: expert_ids must be integers"),
        ("t.jsonl", '{"expert_ids": [[0, 1.5]]}', r"t\.jsonl:1: expert_ids must be integers"),
        ("t.jsonl", '{"expert_ids": [[0, 0]]}', r"some token selects an expert twice"),
        ("t.jsonl", "{", r"t\.jsonl:1: broken JSON: .* \(column 2\)"),
        ("t.jsonl", "", r"t\.jsonl: no lines"),
        ("t.csv", "token,layer,rank,expert\n", r"t\.csv: no rows under the header"),
        ("t.csv", "token,layer,topk_ids\n\n", r"t\.csv: no rows of expert ids"),
        ("t.txt", "", r"\.npz, \.csv, \.jsonl or \.json"),
    ],
)
def test_mistakes_are_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    """Every mistake names the file, the line where there is one, and what would be right."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        import_trace(tmp_path / name)
    assert "\n" not in str(error.value)


def test_batches_start_where_sequences_do() -> None:
    """Sequences of a batch start at recorded borders and run on into what follows; one sequence is
    the whole recording.
    """
    trace = _trace()
    rows = trace._rows(2, 2)
    assert rows.tolist() == [[0, 1], [2, 0]]
    assert trace._rows(1, 3).tolist() == [[0, 1, 2]]
    assert trace._rows(3, 1).tolist() == [[0], [1], [2]]


def test_what_the_gate_left_is_spread_by_popularity() -> None:
    """Selected experts keep their weight; the rest of 1 goes to the others in proportion to their
    popularity.
    """
    draw = Draw(
        ids=np.array([[[[2, 0]]]], np.int16), weights=np.array([[[[0.5, 0.2]]]], np.float32)
    )
    full = draw.distribution(np.array([[0.4, 0.2, 0.3, 0.1]]))
    assert full is not None
    assert full[0, 0, 0] == pytest.approx([0.2, 0.2, 0.5, 0.1])
    assert Draw(ids=draw.ids, weights=None).distribution(np.ones((1, 4)) / 4) is None


def test_statistics_by_hand() -> None:
    """Reuse stays within sequences, the same token is found across them, and shares are those that
    counting gives.
    """
    found = statistics(_trace())
    assert found.reuse_by_layer[1] == (0.5, 0.5)  # one pair: {0,1} -> {1,2} and {2,3} -> {3,0}
    assert np.isnan(found.reuse_by_layer[2][0])
    assert found.same_token_recall_by_layer == (
        0.5,
        0.5,
    )  # token 7: {0,1} -> {4,0} and {2,3} -> {1,2}
    assert found.busiest_ratio_by_layer == (2.0, 2.0)  # two of six selections, of six experts
