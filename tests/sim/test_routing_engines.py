"""Expert ids as engines write them: responses of vLLM, logs by layer, arrays by layer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwprofiles import InputError
from sim.model.library import load_model
from sim.routing import import_trace

PROMPT = [[[1, 2], [3, 4]], [[0, 5], [6, 7]]]
ANSWER = [[[1, 2], [3, 4]]]
OTHER = [[[2, 3], [4, 5]], [[6, 7], [0, 1]]]


def _response(*answers: Any, prompt: Any = PROMPT) -> dict[str, Any]:
    """What a server returns: a prompt's experts, and each choice's."""
    choices = [
        {"index": number, "text": "a", "routed_experts": each}
        for number, each in enumerate(answers)
    ]
    return {
        "id": "cmpl-1",
        "prompt_routed_experts": prompt,
        "choices": choices,
        "usage": {"prompt_tokens": 2},
    }


def _row(token: int | None, layer: Any, ids: Any, **rest: Any) -> dict[str, Any]:
    """A line of a log."""
    row = {"type": "route", "req_id": "r0", "layer": layer, "topk_ids": ids}
    return row | ({} if token is None else {"token_idx": token}) | rest


def _lines(tmp_path: Path, *rows: Any, name: str = "t.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_a_response_is_one_sequence(name: str, tmp_path: Path) -> None:
    """Two tokens of the prompt and a generated one, two layers, top-2; as a line or as a file of
    its own.
    """
    trace = import_trace(_lines(tmp_path, _response(ANSWER), name=name))
    assert trace.expert_ids.tolist() == PROMPT + ANSWER
    assert (trace.borders.tolist(), trace.num_experts, trace.notes) == ([0, 3], 8, ())


def test_choices_share_their_prompt(tmp_path: Path) -> None:
    """The prompt stands once, before the first choice; every other choice is a sequence of its own."""
    trace = import_trace(_lines(tmp_path, _response(ANSWER, OTHER), _response(OTHER)))
    assert trace.expert_ids.tolist() == PROMPT + ANSWER + OTHER + PROMPT + OTHER
    assert trace.borders.tolist() == [0, 3, 5, 9]


def test_records_of_python_objects(tmp_path: Path) -> None:
    """A record without choices holds both arrays itself."""
    trace = import_trace(
        _lines(tmp_path, {"prompt_routed_experts": PROMPT, "routed_experts": ANSWER})
    )
    assert trace.expert_ids.tolist() == PROMPT + ANSWER


def test_what_was_not_recorded_is_left_out(tmp_path: Path) -> None:
    """Cached tokens (-1) and responses without experts are left out, and counted."""
    cached = [[[-1, -1], [-1, -1]], *PROMPT]
    path = _lines(tmp_path, _response(ANSWER, prompt=cached), _response(None, prompt=None))
    trace = import_trace(path)
    assert trace.expert_ids.tolist() == PROMPT + ANSWER
    assert trace.notes == (
        f"{path}: 1 tokens were cached, and their experts not recorded (ids of -1): left out",
        f"{path}:2: 1 responses hold no routed experts: left out",
    )


def test_a_log_has_a_line_for_each_token_and_layer(tmp_path: Path) -> None:
    """Any order of lines; layers are numbered on, the meta line says the number of experts and is
    skipped.
    """
    meta = {"type": "meta", "model_id": "m", "layers_logged": [3, 4], "top_k": 2, "num_experts": 16}
    rows = [
        _row(token, 3 + layer, PROMPT[token][layer], step=1) for layer in (1, 0) for token in (1, 0)
    ]
    path = _lines(tmp_path, meta, *rows)
    trace = import_trace(path)
    assert (trace.expert_ids.tolist(), trace.num_experts) == (PROMPT, 16)
    skipped, layers, ignored = trace.notes
    assert skipped.startswith(
        f"{path}:1: 1 line holds no expert ids: skipped (keys: type, model_id"
    )
    assert "layers 3, 4 are taken for the model's 2 MoE layers" in layers
    assert ignored == f"{path}: not needed and ignored: type, step"


def test_a_log_by_step_counts_tokens_itself(tmp_path: Path) -> None:
    """A line may hold the tokens of a step; requests that take turns are sequences of their own;
    weights come along.
    """
    steps = []
    for name in ("a", "b", "a"):
        for layer in range(2):
            ids = [token[layer] for token in PROMPT]
            weights = [[0.25, 0.5]] * 2
            steps.append(
                {
                    "layer_id": layer,
                    "request_id": name,
                    "topk_experts": ids,
                    "topk_weights": weights,
                }
            )
    trace = import_trace(_lines(tmp_path, *steps))
    assert trace.borders.tolist() == [0, 4, 6]
    assert trace.weights is not None
    assert trace.expert_ids[0].tolist() == [[2, 1], [4, 3]]


def test_arrays_by_layer(tmp_path: Path) -> None:
    """An array for each layer, in the order of their numbers."""
    ids = np.array(PROMPT * 6)
    arrays = {f"model.layers.{9 + layer}.gate": ids[:, layer] for layer in (1, 0)}
    np.savez_compressed(tmp_path / "t.npz", **arrays)  # type: ignore[arg-type]  # numpy's stubs
    trace = import_trace(tmp_path / "t.npz")
    assert trace.expert_ids.tolist() == ids.tolist()
    assert "layers 9, 10" in trace.notes[0]


@pytest.mark.parametrize("is_nested", [False, True])
def test_tables_by_layer_of_a_json_file(is_nested: bool, tmp_path: Path) -> None:
    """An object with a table for each layer, as the file or under a key."""
    by_layer = {f"layer_{layer}": [token[layer] for token in PROMPT] for layer in (1, 0)}
    entry = {"expert_ids": by_layer} if is_nested else by_layer
    assert import_trace(_lines(tmp_path, entry, name="t.json")).expert_ids.tolist() == PROMPT


@pytest.mark.parametrize(
    ("header", "pattern"),
    [
        ("token,layer,topk_ids,phase", '{token},{layer},"[{0}, {1}]",decode'),
        ("layer_id,token_idx,experts", "{layer},{token},{0} {1}"),
        ("token,layer,expert_0,expert_1", "{token},{layer},{0},{1}"),
        ("token,layer,expert_2,expert_1", "{token},{layer},{1},{0}"),
    ],
)
def test_a_table_has_a_row_for_each_token_and_layer(
    header: str, pattern: str, tmp_path: Path
) -> None:
    """The experts of all ranks in one column, or a column for each rank."""
    rows = [
        pattern.format(*PROMPT[token][layer], token=token, layer=layer)
        for token in (1, 0)
        for layer in (0, 1)
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["# made by a hook", header, *rows]), encoding="utf-8")
    trace = import_trace(path)
    assert trace.expert_ids.tolist() == PROMPT
    assert "1 comments (#)" in trace.notes[0]
    assert ("phase" in trace.notes[-1]) == ("phase" in header)


def test_weights_of_a_table_go_to_the_experts_of_their_rank(tmp_path: Path) -> None:
    """Ranks are the numbers in the names of the columns, whatever the columns' order."""
    path = tmp_path / "t.csv"
    header = "token,layer,weight_1,expert_2,expert_1,weight_2"
    path.write_text(f"{header}\n0,0,0.75,5,3,0.25\n1,0,0.5,2,4,0.5\n", encoding="utf-8")
    trace = import_trace(path)
    assert trace.expert_ids.reshape(2, 2).tolist() == [[3, 5], [4, 2]]
    assert trace.weights is not None
    assert trace.weights.reshape(2, 2)[0].tolist() == pytest.approx([0.75, 0.25], rel=1e-3)


def test_comments_of_a_table_are_skipped(tmp_path: Path) -> None:
    """Lines that start with # hold no choices, and are counted."""
    path = tmp_path / "t.csv"
    path.write_text(
        "# model m\ntoken,layer,rank,expert\n0,0,0,1\n# more\n1,0,0,2\n", encoding="utf-8"
    )
    trace = import_trace(path)
    assert (trace.expert_ids.ravel().tolist(), trace.notes) == (
        [1, 2],
        (f"{path}:1: 2 comments (#): skipped",),
    )


def test_another_models_shape_is_refused(tmp_path: Path) -> None:
    """The error states the shape of the trace and that of the model."""
    trace = import_trace(_lines(tmp_path, _response(ANSWER)))
    with pytest.raises(
        InputError,
        match=r"2 MoE layers, top-2, .* does not fit mixtral-8x7b \(32 MoE layers, top-2, 8",
    ):
        trace.check(load_model("mixtral-8x7b"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"model": "m", "layers": [1, 2]}], "no line has expert ids"),
        ([_response(None, prompt=None)], "no response holds routed experts"),
        ([_response("AAAB")], r":1: choices\[0\]\.routed_experts must be integers"),
        (
            [_response([[[1, 2]]])],
            r":1: expert ids are of \(1, 2\) layers and ranks, the first were of \(2, 2\)",
        ),
        ([_response([[[1, -1], [0, 2]]])], "expert"),
        ([{"prompt_routed_experts": PROMPT, "choices": 5}], "choices must be a list of objects"),
        ([_row(0, 0, [1, 2]), _row(0, 0, [3, 4])], "layer 0, rank 0 is there 2 times"),
        ([_row(0, 0, [1, 2]), _row(1, 1, [3, 4])], "is there 0 times"),
        (
            [_row(0, 0, [1, 2]), _row(0, 1, [3])],
            "topk_ids names 1 experts of a token, the first line 2",
        ),
        ([_row(0, 0, [[1, 2], [3]])], r"topk_ids must be integers \[rank\] of one token"),
        ([_row(-1, 0, [1, 2])], "token_idx must be a whole number of at least 0, got -1"),
        ([_row(0, "a", [1, 2])], "layer must be a whole number from 0 to 9,999, got 'a'"),
        ([_row(0, 0, [1, 2], topk_weights=[0.5])], r"topk_weights is of shape \(1, 1\)"),
        ([_row(0, 0, [1, 2]), {"expert_ids": PROMPT}], ":2: no key layer"),
        (
            [{"expert_ids": {"0": [[1, 2]], "1": [[3]]}}],
            "all layers must have as many tokens and ranks as 0",
        ),
        (
            [{"expert_ids": {"a": [[1, 2]]}}],
            "must have a table .* for each layer, named by its number",
        ),
        ([{"layer": 0, "topk_idz": [1, 2]}], "no key expert_ids, routed_experts, topk_ids"),
    ],
)
def test_wrong_lines_are_named(rows: list[Any], message: str, tmp_path: Path) -> None:
    """One line each that says what would be right."""
    with pytest.raises(InputError, match=message) as caught:
        import_trace(_lines(tmp_path, *rows))
    assert "\n" not in str(caught.value)
