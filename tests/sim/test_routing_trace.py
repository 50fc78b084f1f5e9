"""Traces: importers, what they refuse, sequence borders and gate weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from hwprofiles import InputError
from sim.routing import Draw, RecordedRouting, import_trace, load_trace, save_trace, statistics

IDS = np.array([[[0, 1], [2, 3]], [[1, 2], [3, 0]], [[4, 0], [1, 2]]], np.int16)
WEIGHTS = np.array(
    [[[0.5, 0.25], [0.25, 0.125]], [[0.25, 0.5], [0.5, 0.25]], [[0.75, 0.125], [0.5, 0.25]]]
)
LENGTHS = np.array([2, 1])


def _trace() -> RecordedRouting:
    return RecordedRouting(
        name="t",
        expert_ids=IDS,
        num_experts=6,
        sequence_num_tokens=LENGTHS,
        token_ids=np.array([7, 8, 7]),
    )


def _write_csv(path: Path) -> None:
    rows = [
        f"{sequence},{token},{layer},{rank},{IDS[row, layer, rank]},{WEIGHTS[row, layer, rank]}"
        for row, (sequence, token) in enumerate([(0, 0), (0, 1), (1, 0)])
        for layer in range(2)
        for rank in range(2)
    ]
    path.write_text(
        "\n".join(["sequence,token,layer,rank,expert,weight", *reversed(rows)]), encoding="utf-8"
    )


def _write_jsonl(path: Path, by_token: bool) -> None:
    groups = [("a", [0]), ("a", [1]), ("b", [2])] if by_token else [("a", [0, 1]), ("b", [2])]
    lines = [
        {
            "request_id": name,
            "routed_experts": IDS[rows].tolist(),
            "gate_weights": WEIGHTS[rows].tolist(),
            "token_ids": rows,
        }
        for name, rows in groups
    ]
    if by_token:
        lines = [
            line
            | {"routed_experts": line["routed_experts"][0], "gate_weights": line["gate_weights"][0]}
            for line in lines
        ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


@pytest.mark.parametrize("form", ["csv", "jsonl by request", "jsonl by token"])
def test_formats_say_the_same(form: str, tmp_path: Path) -> None:
    """Each format gives the same trace: ranks by descending weight, sequences apart; and so does
    the .npz written from it.
    """
    path = tmp_path / f"t.{form.split()[0]}"
    _write_csv(path) if form == "csv" else _write_jsonl(path, "token" in form)
    imported = import_trace(path, num_experts=6)
    save_trace(imported, tmp_path / "t.npz")
    for trace in (imported, load_trace(tmp_path / "t.npz")):
        assert trace.expert_ids[0].tolist() == [[0, 1], [2, 3]]
        assert trace.expert_ids[1].tolist() == [[2, 1], [3, 0]]
        assert trace.weights is not None
        assert trace.weights[1].tolist() == [[0.5, 0.25], [0.5, 0.25]]
        assert trace.borders.tolist() == [0, 2, 3]
        assert trace.num_experts == 6


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
