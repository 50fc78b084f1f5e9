"""Comparing with measured rows: exact where rows are made up from the prices, reasons where rows
cannot be asked.
"""

import csv
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from hwprofiles import InputError, load_machine
from sim.runtimes.constants import NAMES, shipped, shipped_constants
from sim.runtimes.host import RuntimeHost, Vector
from sim.runtimes.machine_host import runtime_host
from sim.runtimes.question import PromptSide
from tests.validation.accuracy.synthetic import TRUE, host_of, synthetic_rows
from validation.accuracy import MeasuredRow, compare, read_rows
from validation.accuracy.errors import (
    bias,
    median_over_rigs,
    order,
    relative_errors,
    tail,
)
from validation.accuracy.fit import Points, fitted
from validation.accuracy.points import points_of, priced, rows_of_phase
from validation.accuracy.prediction import predict_shipped, spreads_that_cover
from validation.accuracy.questions import ask, leaves_flags_out, read_probes

ROW = synthetic_rows()[0]


def test_rows_made_from_the_constants_are_exact() -> None:
    """Rows measured as the shipped constants say have no error, are all covered and all in order."""
    result = compare(synthetic_rows(shipped_constants()), host_of, leave_one_rig_out=False)
    everything = [item for item in result.summary if item.group == "all rows"]
    assert [item.phase for item in everything] == ["decode", "prefill"]
    for item in everything:
        assert item.median_error_fraction == pytest.approx(0, abs=1e-9)
        assert item.p90_error_fraction == pytest.approx(0, abs=1e-9)
        assert (item.coverage_fraction, item.order_fraction) == (1.0, 1.0)
        assert item.num_points == len(result.rows)


def test_fit_moves_towards_the_truth() -> None:
    """Constants that rows tell apart come nearer to those that the rows were made from; others stay
    at their priors.
    """
    rows = [priced(ask(row, host_of)) for row in synthetic_rows()]
    points = {
        phase: points_of(rows_of_phase(rows, phase), phase) for phase in ("decode", "prefill")
    }
    file = shipped()
    values = fitted(points, file)  # type: ignore[arg-type]
    for name in ("desktop_dram_fraction", "link_fraction"):
        before = abs(np.log(file.constants[name].prior / getattr(TRUE, name)))
        assert abs(np.log(values[name] / getattr(TRUE, name))) < 0.6 * before
    assert values["flash_flops_per_core_s"] == pytest.approx(
        file.constants["flash_flops_per_core_s"].prior, rel=1e-3
    )


def _decode_values(rows: list[MeasuredRow]) -> dict[str, float]:
    own = rows_of_phase([priced(ask(row, host_of)) for row in rows], "decode")
    return fitted({"decode": points_of(own, "decode")}, shipped())


def test_a_row_of_another_kind_moves_no_constant() -> None:
    """A row fifteen times slower than constants explain, as from a disk, pulls less than one a fifth
    slower.
    """
    first, *others = synthetic_rows(shipped_constants())
    usual = _decode_values([first, *others])

    def _pull(factor: float) -> float:
        speed = (first.decode_tokens_per_s or 0.0) / factor
        values = _decode_values([replace(first, decode_tokens_per_s=speed), *others])
        return sum(abs(float(np.log(values[name] / usual[name]))) for name in NAMES)

    assert _pull(15.0) < _pull(1.2)


def test_leaving_one_machine_out() -> None:
    """Each machine is predicted without its own rows: changing them changes no prediction of
    theirs.
    """
    rows = synthetic_rows()
    changed = [
        replace(row, decode_tokens_per_s=2 * (row.decode_tokens_per_s or 0))
        if row.rig == "small"
        else row
        for row in rows
    ]
    first = compare(rows, host_of, leave_one_rig_out=True)
    second = compare(changed, host_of, leave_one_rig_out=True)
    for before, after in zip(first.rows, second.rows, strict=True):
        assert before.decode is not None
        assert after.decode is not None
        if before.rig == "small":
            assert after.decode.predicted_tokens_per_s == pytest.approx(
                before.decode.predicted_tokens_per_s
            )
    assert any(
        before.decode != after.decode
        for before, after in zip(first.rows, second.rows, strict=True)
        if before.rig != "small"
    )


def test_too_few_machines() -> None:
    """One machine cannot be left out of one or two."""
    rows = [row for row in synthetic_rows() if row.rig in ("small", "plain")]
    with pytest.raises(InputError, match="at least 3, got 2"):
        compare(rows, host_of, leave_one_rig_out=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"runtime": "vllm"}, "not modelled"),
        ({"machine": "abacus"}, "not understood"),
        ({"model": "gpt-9"}, "no model named 'gpt-9'"),
        ({"args": "-md draft.gguf"}, "speculative decoding"),
        ({"bytes_per_weight": "experts=four"}, "is no number"),
        ({"bytes_per_weight": "expert=0.5"}, "is no class"),
        (
            {"bytes_per_weight": "", "quantization": ""},
            "neither its quantization nor bytes_per_weight",
        ),
        ({"batch": 8.0}, "one sequence at a time"),
        ({"probe": "dram=fast"}, "is no rate"),
        ({"args": "-ngl 99 -ot exps=CUDA7"}, "the machine has 1 GPUs"),
    ],
)
def test_reasons(change: dict[str, object], reason: str) -> None:
    """A row that cannot be asked is kept with its reason in one line, and no row beside it suffers."""
    odd = replace(ROW, id="odd", **change)  # type: ignore[arg-type]
    result = compare([ROW, odd], host_of, leave_one_rig_out=False)
    assert result.rows[0].reason is None
    assert reason in (result.rows[1].reason or "")
    assert "\n" not in (result.rows[1].reason or "")
    assert (result.rows[1].decode, result.rows[1].prefill) == (None, None)


def test_machine_without_memory_needs_a_probe() -> None:
    """A machine whose memory is not named is predicted from a probe alone."""
    line = "RTX 4090 + Ryzen 9 7950X"
    bare = replace(ROW, machine=line)
    assert (
        ask(bare, lambda _: host_of("plain + DDR")).reason
        == f"machine {line}: neither its memory nor a probe of it is stated"
    )
    probed = replace(bare, probe="dram@8=40e9;dram=50e9;h2d=20e9")
    asked = ask(probed, lambda _: host_of("plain + DDR"))
    assert asked.question is not None
    assert asked.question.host.probe_bytes_per_s == 50e9
    assert asked.question.host.gpus[0].link_bytes_per_s == 20e9


@pytest.mark.parametrize("line", ["Apple M4 Pro 24GB", "GB10", "GH200", "Ryzen AI Max+ 395 128GB"])
def test_machine_with_the_memory_of_its_chip_needs_no_probe(line: str) -> None:
    """A chip that comes with its memory states it by its name."""
    machine = runtime_host(load_machine(line))
    assert ask(replace(ROW, machine=line), lambda _: machine).reason is None


@pytest.mark.parametrize(
    ("mechanism", "side"),
    [
        ("prompts on the CPU (old build)", PromptSide.CPU),
        ("op offload off by -op: prompts on the CPU", PromptSide.CPU),
        ("op offload: experts streamed to the GPU for prompts", PromptSide.UPLOAD),
        ("op offload from 341 tokens (32 x experts / active)", None),
        ("", None),
    ],
)
def test_stated_mechanism(mechanism: str, side: PromptSide | None) -> None:
    """A source that says where prompts ran is believed; a threshold is the program's own."""
    asked = ask(replace(ROW, mechanism=mechanism), host_of).question
    assert asked is not None
    assert asked.prompt_side is side


def test_flags_left_out_are_marked() -> None:
    """Rows whose note says that flags are not stated are reported apart."""
    assert leaves_flags_out(replace(ROW, note="llama-sweep-bench; further ik flags not stated; x"))
    assert leaves_flags_out(replace(ROW, note="further ik flags than -fmoe not stated"))
    assert not leaves_flags_out(replace(ROW, note="short prompts, length not stated"))


def test_rows_come_back_from_a_file(tmp_path: Path) -> None:
    """A file with the columns in any order, and further ones, is read as it was written."""
    rows = synthetic_rows()
    path = tmp_path / "rows.csv"
    _write(path, rows)
    assert read_rows(path) == rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ""}, "id and rig must not be empty"),
        ({"decode_tokens_per_s": "fast"}, "decode_tokens_per_s fast is no number"),
        ({"decode_tokens_per_s": "-1"}, "must be a number of at least 0"),
        ({"decode_tokens_per_s": "nan"}, "must be a number of at least 0"),
    ],
)
def test_wrong_files(tmp_path: Path, change: dict[str, str], message: str) -> None:
    """A wrong cell is named with its line."""
    path = tmp_path / "rows.csv"
    _write(path, [ROW], change)
    with pytest.raises(InputError, match=message) as raised:
        read_rows(path)
    assert f"{path}:2" in str(raised.value)


def test_missing_column_and_repeated_id(tmp_path: Path) -> None:
    """Columns that are needed, and an id for each row."""
    path = tmp_path / "rows.csv"
    path.write_text("id,rig\n1,a\n", encoding="utf-8")
    with pytest.raises(InputError, match="column machine is missing"):
        read_rows(path)
    _write(path, [ROW, ROW])
    with pytest.raises(InputError, match="stands twice"):
        read_rows(path)
    with pytest.raises(InputError, match="cannot read table of measured rows"):
        read_rows(tmp_path / "none.csv")


def test_errors_by_hand() -> None:
    """Three predictions of two machines, worked out by hand."""
    predicted = np.array([11.0, 18.0, 30.0])
    measured = np.array([10.0, 20.0, 20.0])
    rigs = ("a", "a", "b")
    sizes = relative_errors(predicted, measured)
    assert sizes.tolist() == pytest.approx([0.1, 0.1, 0.5])
    assert median_over_rigs(sizes, rigs) == pytest.approx(0.3)
    assert bias(predicted, measured) == pytest.approx(0.1)
    assert tail(sizes) == pytest.approx(0.42)
    assert order(predicted, measured, rigs) == 1.0
    assert order(np.array([18.0, 11.0]), np.array([10.0, 20.0]), ("a", "a")) == 0.0
    assert order(np.array([1.0, 2.0]), np.array([10.0, 10.2]), ("a", "a")) is None


def test_probes() -> None:
    """Rates by name; an empty cell has none."""
    assert read_probes("dram=60e9;h2d=25e9") == {"dram": 60e9, "h2d": 25e9}
    assert read_probes("") == {}


def _write(path: Path, rows: list[MeasuredRow], change: dict[str, str] | None = None) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["extra", *reversed(asdict(rows[0]))])
        writer.writeheader()
        for row in rows:
            cells = {
                name: "" if value is None else str(value) for name, value in asdict(row).items()
            }
            writer.writerow(cells | {"extra": "x"} | (change or {}))


def test_rows_of_which_none_can_be_expressed_are_refused() -> None:
    """With the reasons, where there is nothing to compare."""
    unknown = replace(ROW, model="no-such-model")
    with pytest.raises(InputError, match="none of 1 rows can be expressed: no model named"):
        compare([unknown], host_of, leave_one_rig_out=False)


def test_what_a_row_says_of_a_cpu_that_its_line_leaves_out() -> None:
    """The line names no CPU, so the note on what was left out says what it has."""
    plain = ask(ROW, host_of).question
    noted = ask(replace(ROW, assumed="CPU left out: two Xeon without VNNI"), host_of).question
    assert plain is not None
    assert noted is not None
    assert plain.host.vector is not Vector.AVX512
    assert noted.host.vector is Vector.AVX512


def test_ranges_of_a_machine_do_not_know_its_own_errors() -> None:
    """How far ranges reach is the share of other machines' errors, in spreads of each."""
    rows = [
        replace(row, decode_tokens_per_s=4 * (row.decode_tokens_per_s or 0))
        if row.rig == "small"
        else row
        for row in synthetic_rows(shipped_constants())
    ]
    points = points_of(
        rows_of_phase([priced(ask(row, host_of)) for row in rows], "decode"), "decode"
    )
    found = predict_shipped(points, shipped_constants(), shipped())
    assert spreads_that_cover(found, 0.99, without="small") == pytest.approx(0, abs=1e-6)
    worst = float(np.log(4) / found.spreads.min())
    assert 0 < spreads_that_cover(found, 0.99) <= worst


def _decode_points(rows: list[MeasuredRow]) -> Points:
    own = rows_of_phase([priced(ask(row, host_of)) for row in rows], "decode")
    return points_of(own, "decode")


def test_ranges_count_machines_not_rows() -> None:
    """A machine that is measured ten times as often moves the reach of ranges no further."""
    rows = synthetic_rows()
    often = [
        replace(row, id=f"{row.id} {number}")
        for row in rows
        for number in range(10 if row.rig == "small" else 1)
    ]
    once, many = (
        spreads_that_cover(
            predict_shipped(_decode_points(own), shipped_constants(), shipped()), 0.8
        )
        for own in (rows, often)
    )
    assert many == pytest.approx(once)


def test_a_phase_of_one_machine_keeps_the_shipped_reach() -> None:
    """Prompts that one machine alone measured have no others to take a reach from."""
    rows = [
        row if row.rig == "small" else replace(row, prefill_tokens_per_s=None)
        for row in synthetic_rows()
    ]
    result = compare(rows, host_of, leave_one_rig_out=True)
    shown = [row.prefill for row in result.rows if row.prefill is not None]
    assert shown
    assert all(point.low_tokens_per_s < point.high_tokens_per_s for point in shown)


def test_coverage_over_machines_is_their_mean() -> None:
    """One machine of four outside its ranges leaves three quarters, however many rows it has."""
    rows = [
        replace(row, decode_tokens_per_s=9 * (row.decode_tokens_per_s or 0))
        if row.rig == "small"
        else row
        for row in synthetic_rows(shipped_constants())
    ]
    kept = [row for row in rows if row.rig == "small"] + [
        next(row for row in rows if row.rig == rig) for rig in ("plain", "large", "server")
    ]
    result = compare(kept, host_of, leave_one_rig_out=False)
    everything = next(item for item in result.summary if item.phase == "decode")
    assert everything.coverage_over_rigs_fraction == pytest.approx(0.75)
    assert everything.coverage_fraction == pytest.approx(3 / len(kept))


def test_usual_memory_says_nothing_beside_a_probe() -> None:
    """A line without memory is taken with the usual one; its probe alone counts."""
    plain = replace(ROW, machine="RTX 5090 + Ryzen 9 9950X", probe="dram=62.3e9")

    def parts(line: str) -> RuntimeHost:
        return runtime_host(load_machine(line))

    guessed = ask(plain, parts).question
    stated = ask(replace(plain, machine=f"{plain.machine} + 2x48GB DDR5-5600"), parts).question
    assert guessed is not None and stated is not None
    assert guessed.host.dram_bytes_per_s is None
    assert stated.host.dram_bytes_per_s == pytest.approx(89.6e9)
    assert guessed.host.probe_bytes_per_s == stated.host.probe_bytes_per_s == 62.3e9
